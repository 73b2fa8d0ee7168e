"""The check before anything goes up: a folder is opened as its readers will, each way in a process of its own."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from modelscope_plugin.encoding.encoder import EntityEncoder, Vectors
from modelscope_plugin.errors import FolderCheckError
from modelscope_plugin.hub import check_process
from modelscope_plugin.hub.card_usage import CANDIDATES, SOURCE
from modelscope_plugin.hub.export_record import CARD_FILE, ExportRecord
from modelscope_plugin.preprocessors.tokenization import EntityTokenizer

TOLERANCE = 1e-4
"""The largest difference of a value of a vector that counts as the same vector."""

_MENTIONS = (SOURCE, "小品里 [ENT_S] 大鹏 [ENT_E] 很好笑", "[ENT_S] 大 [ENT_E]", "大鹏")
_ENTITIES = (*CANDIDATES, "大鹏;")
_WIDE = 1 << 16
_SECONDS = 1800
_OFFLINE = {"HF_HUB_OFFLINE": "1", "MODELSCOPE_DOMAIN": "127.0.0.1:9", "MODELSCOPE_ENDPOINT": "http://127.0.0.1:9"}


def check_folder(folder: Path, record: ExportRecord, source: EntityEncoder) -> dict[str, float]:
    """Open an exported folder in every way that its card promises, and compare with the model it was made from.

    Each way runs in a fresh process: with this package; without it, where the folder is standalone; with
    sentence-transformers, where its files are there. Every Python block of the card runs in the process it is for.

    Args:
        folder: The exported folder.
        record: Its record.
        source: The model it was exported from.

    Returns:
        For each way the largest difference between a value of its vectors and the source model's.

    Raises:
        FolderCheckError: If a way or a Python block fails or gives other vectors, or sentence-transformers is needed
            and not installed.
    """
    if source.fingerprint != record.fingerprint:
        raise FolderCheckError(
            f"{folder} is not the model that was exported: its weights were changed; export it again"
        )
    ways = ["plugin"]
    if record.standalone:
        ways.append("standalone")
    if (folder / "modules.json").is_file():
        if importlib.util.find_spec("sentence_transformers") is None:
            raise FolderCheckError(
                "the card promises that sentence-transformers opens the folder, which is checked first; "
                "install it: pip install 'modelscope_plugin[publish]'"
            )
        ways.append("sentence-transformers")
    mentions, entities = _samples(source.tokenizer)
    expected = np.concatenate([source.encode_query(mentions), source.encode_document(entities)])
    blocks = _blocks(folder / CARD_FILE)
    job = {"folder": str(folder.resolve()), "standalone": record.standalone, "mentions": mentions, "entities": entities}
    with tempfile.TemporaryDirectory() as work:
        # The card loads the model by its name, which no hub knows yet.
        place = Path(work) / record.name
        place.parent.mkdir(exist_ok=True)
        place.symlink_to(folder.resolve(), target_is_directory=True)
        jobs = [job | {"blocks": list(_meant_for(way, blocks))} for way in ways]
        with ThreadPoolExecutor(len(ways)) as pool:
            vectors = list(pool.map(_vectors, ways, jobs, [work] * len(ways)))
    return {way: _difference(way, folder, found, expected) for way, found in zip(ways, vectors, strict=True)}


def _samples(tokenizer: EntityTokenizer) -> tuple[list[str], list[str]]:
    """Texts that fit into the window, so that every way sees all of them."""
    wide = EntityTokenizer(tokenizer.tokenizer, _WIDE, tokenizer.mention_prefix, tokenizer.entity_prefix)
    sides = ((_MENTIONS, wide.mention_ids(_MENTIONS)), (_ENTITIES, wide.entity_ids(_ENTITIES)))
    mentions, entities = (
        [text for text, ids in zip(texts, sequences, strict=True) if len(ids) <= tokenizer.max_length]
        for texts, sequences in sides
    )
    return mentions, entities


def _blocks(card: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", card.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def _meant_for(way: str, blocks: Iterable[str]) -> Iterator[tuple[int, str]]:
    for number, block in enumerate(blocks, 1):
        if "sentence_transformers" in block:
            fits = way == "sentence-transformers"
        elif "modelscope_plugin" in block:
            fits = way == "plugin"
        else:
            fits = way in ("plugin", "standalone")
        if fits:
            yield number, block


def _vectors(way: str, job: dict[str, Any], work: str) -> Vectors:
    """Run one way; its vectors."""
    job_file, vectors_file = Path(work) / f"{way}.json", Path(work) / f"{way}.npy"
    job_file.write_text(json.dumps(job, ensure_ascii=False), encoding="utf-8")
    command = [sys.executable, check_process.__file__, way, str(job_file), str(vectors_file)]
    # What ModelScope copies to run it goes with the work folder, and no hub is asked for the name.
    environment = os.environ | _OFFLINE | {"MODELSCOPE_CACHE": str(Path(work) / way)}
    try:
        done = subprocess.run(
            command, cwd=work, env=environment, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise FolderCheckError(f"{way}: opening the folder and running its card took over {_SECONDS} s") from None
    if done.returncode:
        told = vectors_file.with_suffix(".txt")
        last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise FolderCheckError(f"{way}: {told.read_text(encoding='utf-8') if told.is_file() else last}")
    vectors: Vectors = np.load(vectors_file)
    return vectors


def _difference(way: str, folder: Path, vectors: Vectors, expected: Vectors) -> float:
    if vectors.shape != expected.shape or not np.isfinite(vectors).all():
        raise FolderCheckError(
            f"{way}: {folder} gives vectors of shape {vectors.shape}, the source model of {expected.shape}"
        )
    difference = float(np.abs(vectors - expected).max())
    if difference > TOLERANCE:
        raise FolderCheckError(f"{way}: {folder} gives other vectors than the source model (by {difference:.2g})")
    return difference
