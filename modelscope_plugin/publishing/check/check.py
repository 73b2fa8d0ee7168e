"""The check before anything goes up: a folder is opened as its readers will, each way in a process of its own."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from modelscope_plugin.encoding.backends.onnx_export import onnx_file
from modelscope_plugin.encoding.encoder import EntityEncoder
from modelscope_plugin.errors import FolderCheckError
from modelscope_plugin.modeling.tokenization import EntityTokenizer
from modelscope_plugin.publishing.card.usage import CANDIDATES, SOURCE
from modelscope_plugin.publishing.check import check_process
from modelscope_plugin.publishing.check.card import check_card, python_blocks
from modelscope_plugin.publishing.export.export_record import CARD_FILE, ExportRecord
from modelscope_plugin.types import OnnxPrecision, Vectors

TOLERANCE = 1e-4
"""The largest difference of a value of a vector that counts as the same vector."""

INT8_TOLERANCE = 0.1
"""The same where ONNX Runtime computes in 8 bits, for vectors scaled to length 1."""

_MENTIONS = (SOURCE, "小品里 [ENT_S] 大鹏 [ENT_E] 很好笑", "[ENT_S] 大 [ENT_E]", "大鹏")
_ENTITIES = (*CANDIDATES, "大鹏;")
_WIDE = 1 << 16
_SECONDS = 1800


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
        FolderCheckError: If the card lacks what the hub needs, a way or a Python block fails or gives other vectors, or
            sentence-transformers is needed and not installed.
    """
    if source.fingerprint != record.fingerprint:
        raise FolderCheckError(
            f"{folder} is not the model that was exported: its weights were changed; export it again"
        )
    ways = _ways(folder, record, source)
    card = (folder / CARD_FILE).read_text(encoding="utf-8")
    check_card(card)
    blocks = list(enumerate(python_blocks(card), 1))
    meant = {way: [(number, block) for number, block in blocks if way in _ways_of(block)] for way in ways}
    if unmet := [way for way in ways if not meant[way] and not way.startswith("onnx")]:
        raise FolderCheckError(f"{CARD_FILE} has no Python block that shows how to open the model with {unmet[0]}")
    mentions, entities = _samples(source.tokenizer)
    expected = np.concatenate([source.encode_query(mentions), source.encode_document(entities)])
    job = {"folder": str(folder.resolve()), "standalone": record.standalone, "mentions": mentions, "entities": entities}
    with tempfile.TemporaryDirectory(prefix="modelscope_plugin.check.") as work:
        names = Path(work) / "names"
        (names / record.name).parent.mkdir(parents=True)
        # The card loads the model by its name, which no hub knows yet.
        (names / record.name).symlink_to(folder.resolve(), target_is_directory=True)
        with ExitStack() as stack:
            runs = {
                way: stack.enter_context(_Run(way, job | {"blocks": meant[way]}, Path(work), names)) for way in ways
            }
            return {way: _difference(way, run.vectors(), expected) for way, run in runs.items()}


def _ways(folder: Path, record: ExportRecord, source: EntityEncoder) -> list[str]:
    """The ways in which the folder is to open."""
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
    precisions: tuple[tuple[str, OnnxPrecision], ...] = (("onnx", "float32"), ("onnx-int8", "int8"))
    return ways + [way for way, one in precisions if onnx_file(folder, source.model, "mention", one).is_file()]


def _samples(tokenizer: EntityTokenizer) -> tuple[list[str], list[str]]:
    """Texts that fit into the window, so that every way sees all of them."""
    wide = EntityTokenizer(tokenizer.tokenizer, _WIDE, tokenizer.mention_prefix, tokenizer.entity_prefix)
    sides = ((_MENTIONS, wide.mention_ids(_MENTIONS)), (_ENTITIES, wide.entity_ids(_ENTITIES)))
    mentions, entities = (
        [text for text, ids in zip(texts, sequences, strict=True) if len(ids) <= tokenizer.max_length]
        for texts, sequences in sides
    )
    return mentions, entities


def _ways_of(block: str) -> tuple[str, ...]:
    """The ways of opening a folder in which a Python block of its card is to run."""
    if "sentence_transformers" in block:
        return ("sentence-transformers",)
    return ("plugin",) if "modelscope_plugin" in block else ("plugin", "standalone")


class _Run:
    """One way of opening the folder, as a process that ends with the context."""

    def __init__(self, way: str, job: dict[str, Any], work: Path, current: Path) -> None:
        self._way = way
        place = work / "runs" / way
        place.mkdir(parents=True)
        self._vectors, self._outcome, self._errors = (place / name for name in ("vectors.npy", "outcome", "errors"))
        (place / "job.json").write_text(json.dumps(job, ensure_ascii=False), encoding="utf-8")
        arguments = (way, place / "job.json", self._vectors, self._outcome)
        with open(self._errors, "wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, check_process.__file__, *map(str, arguments)],
                cwd=current,
                env=_environment(place),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
            )

    def __enter__(self) -> _Run:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def vectors(self) -> Vectors:
        """What it gives; FolderCheckError where it fails."""
        try:
            status = self._process.wait(_SECONDS)
        except subprocess.TimeoutExpired:
            raise FolderCheckError(
                f"{self._way}: opening the folder and running its card took over {_SECONDS} s"
            ) from None
        if not self._outcome.is_file():
            last = (self._errors.read_text(errors="replace").strip().splitlines() or [f"exit status {status}"])[-1]
            raise FolderCheckError(f"{self._way}: the process ended early ({last})")
        outcome = self._outcome.read_text(encoding="utf-8")
        if outcome != check_process.DONE:
            raise FolderCheckError(f"{self._way}: {outcome}")
        vectors: Vectors = np.load(self._vectors)
        return vectors


def _environment(place: Path) -> dict[str, str]:
    """That of this process, without its hub and its access to it, and with this very package to be imported."""
    kept = {name: value for name, value in os.environ.items() if not name.upper().endswith("TOKEN")}
    packages = [str(Path(__file__).parents[3]), *filter(None, [os.environ.get("PYTHONPATH")])]
    return kept | {
        "HF_HUB_OFFLINE": "1",
        "MODELSCOPE_DOMAIN": "127.0.0.1:9",
        "MODELSCOPE_ENDPOINT": "http://127.0.0.1:9",
        # What ModelScope copies there to run it goes with the work folder; the saved login is not there.
        "MODELSCOPE_CACHE": str(place / "cache"),
        "MODELSCOPE_HOME": str(place / "home"),
        "MODELSCOPE_CREDENTIALS_PATH": str(place / "home"),
        "PYTHONPATH": os.pathsep.join(packages),
    }


def _difference(way: str, vectors: Vectors, expected: Vectors) -> float:
    tolerance = TOLERANCE
    if way == "onnx-int8":
        # Arithmetic of 8 bits rounds; what is to stay is the direction.
        vectors, expected = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (vectors, expected))
        tolerance = INT8_TOLERANCE
    if vectors.shape != expected.shape or not np.isfinite(vectors).all():
        raise FolderCheckError(
            f"{way}: the folder gives vectors of shape {vectors.shape}, the source model of {expected.shape}"
        )
    difference = float(np.abs(vectors - expected).max())
    if difference > tolerance:
        raise FolderCheckError(f"{way}: the folder gives other vectors than the source model (by {difference:.2g})")
    return difference
