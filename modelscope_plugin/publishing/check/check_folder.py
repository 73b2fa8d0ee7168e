"""Checks an exported folder before it is uploaded: opens it in every way its readers will, each in a fresh process."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from modelscope_plugin.config.sentence_transformers_sections import MODULES_FILE
from modelscope_plugin.encoding.backends.onnx_export import onnx_file
from modelscope_plugin.encoding.encoder import EntityEncoder
from modelscope_plugin.errors import FolderCheckError
from modelscope_plugin.modeling.fingerprint import is_same_model
from modelscope_plugin.modeling.tokenization import EntityTokenizer
from modelscope_plugin.publishing.card.facts import SnippetFacts
from modelscope_plugin.publishing.card.metadata import check_card
from modelscope_plugin.publishing.card.records import read_training_record, read_views
from modelscope_plugin.publishing.card.render import CANDIDATES, SOURCE, SnippetName, render_snippets
from modelscope_plugin.publishing.check import open_folder
from modelscope_plugin.publishing.export.export_record import CARD_FILE, ExportRecord
from modelscope_plugin.publishing.export.sentence_transformers_files import check_module_types
from modelscope_plugin.text import printable
from modelscope_plugin.types import BackendName, OnnxPrecision, Vectors

TOLERANCE = 1e-4
"""The largest difference of a value at which two vectors count as the same."""

INT8_TOLERANCE = 0.1
"""The same for ONNX Runtime in 8 bits, for vectors scaled to length 1."""

_MENTIONS = (SOURCE, "小品里 [ENT_S] 大鹏 [ENT_E] 很好笑", "[ENT_S] 大 [ENT_E]", "大鹏")
_ENTITIES = (*CANDIDATES, "大鹏;")
_SECONDS = 1800
_ONNX: dict[BackendName, OnnxPrecision] = {"onnx": "float32", "onnx-int8": "int8"}
_WAY_LIBRARIES = {
    "sentence-transformers": {"sentence-transformers"},
}
_SNIPPET_WAYS: dict[SnippetName, tuple[str, ...]] = {
    "pipeline": ("plugin", "standalone"),
    "link": ("plugin",),
    "onnx": ("plugin",),
    "sentence_transformers": ("sentence-transformers",),
}


def check_folder(folder: Path, record: ExportRecord, source: EntityEncoder) -> dict[str, float]:
    """Open an exported folder in every way that its card promises, and compare its vectors with the source model's.

    Each way runs in a fresh process: with this package; without it, if the folder is standalone; with
    sentence-transformers or ONNX Runtime, if the folder has their files. The Python snippets of the card run in the
    process they are meant for. They are rendered anew from checked values: nothing in README.md is run.

    Args:
        folder: The exported folder.
        record: Its export.json.
        source: The model it was exported from.

    Returns:
        For each way the largest difference of a value to the vectors of the source model.

    Raises:
        FolderCheckError: If the card lacks what the hub needs, a way or a snippet fails or gives other vectors, or
            sentence-transformers is needed and not installed.
        ModelFolderError: If training.json is damaged, or modules.json names other classes than an export does.
    """
    if not is_same_model(record.fingerprint, source.fingerprint):
        raise FolderCheckError(f"the weights in {folder} are not those that were exported; export the model again")
    try:
        check_card((folder / CARD_FILE).read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        raise FolderCheckError(f"{CARD_FILE} is not UTF-8; save it as UTF-8") from None
    facts = _read_snippet_facts(folder, record, source)
    snippets = render_snippets(facts)
    mentions, entities = _choose_samples(source.tokenizer)
    expected = np.concatenate([source.encode_query(mentions), source.encode_document(entities)])
    job = {"folder": str(folder.resolve()), "standalone": record.standalone, "mentions": mentions, "entities": entities}
    with tempfile.TemporaryDirectory(prefix="modelscope_plugin.check.") as work:
        names = Path(work) / "names"
        (names / record.name).parent.mkdir(parents=True)
        # The snippets load the model by its name, which no hub knows yet.
        (names / record.name).symlink_to(folder.resolve(), target_is_directory=True)
        with ExitStack() as stack:
            runs = {}
            for way in _list_ways(folder, facts, source):
                meant = {name: code for name, code in snippets.items() if way in _SNIPPET_WAYS[name]}
                runs[way] = stack.enter_context(_OpeningProcess(way, job | {"snippets": meant}, Path(work), names))
            return {way: _compare(way, run.read_vectors(), expected) for way, run in runs.items()}


def find_versions(ways: Iterable[str]) -> dict[str, str]:
    """The versions of the libraries that `check_folder` opened a folder with in some ways, by name."""
    names = {"transformers", "torch", "modelscope"}
    for way in ways:
        names |= _WAY_LIBRARIES.get(way, set())
    return {name: version(name) for name in sorted(names)}


def _read_snippet_facts(folder: Path, record: ExportRecord, source: EntityEncoder) -> SnippetFacts:
    return SnippetFacts(
        name=record.name,
        dimension=source.model.dimension,
        views=read_views(read_training_record(folder)),
        standalone=record.standalone,
        sentence_transformers=(folder / MODULES_FILE).is_file(),
        onnx=onnx_file(folder, source.model, "mention", "int8").is_file(),
    )


def _list_ways(folder: Path, facts: SnippetFacts, source: EntityEncoder) -> list[str]:
    """Return the ways in which the folder must open."""
    ways = ["plugin"]
    if facts.standalone:
        ways.append("standalone")
    if facts.sentence_transformers:
        if importlib.util.find_spec("sentence_transformers") is None:
            raise FolderCheckError(
                "the card promises that sentence-transformers opens the folder, which is checked first; "
                "install it: pip install 'modelscope_plugin[publish]'"
            )
        check_module_types(folder)
        ways.append("sentence-transformers")
    return ways + [way for way, one in _ONNX.items() if onnx_file(folder, source.model, "mention", one).is_file()]


def _choose_samples(tokenizer: EntityTokenizer) -> tuple[list[str], list[str]]:
    """Return mentions and entities that fit into the window, so that no way cuts them."""
    wide = tokenizer.without_limit()
    sides = ((_MENTIONS, wide.mention_ids(_MENTIONS)), (_ENTITIES, wide.entity_ids(_ENTITIES)))
    mentions, entities = (
        [text for text, ids in zip(texts, sequences, strict=True) if len(ids) <= tokenizer.max_length]
        for texts, sequences in sides
    )
    return mentions, entities


class _OpeningProcess:
    """One way of opening the folder, as a process that ends with the context."""

    def __init__(self, way: str, job: dict[str, Any], work: Path, current: Path) -> None:
        self._way = way
        run = work / "runs" / way
        run.mkdir(parents=True)
        self._vectors, self._outcome, self._errors = (run / name for name in ("vectors.npy", "outcome", "errors"))
        (run / "job.json").write_text(json.dumps(job, ensure_ascii=False), encoding="utf-8")
        arguments = (way, run / "job.json", self._vectors, self._outcome)
        with open(self._errors, "wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, open_folder.__file__, *map(str, arguments)],
                cwd=current,
                env=_make_environment(run),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
            )

    def __enter__(self) -> _OpeningProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def read_vectors(self) -> Vectors:
        """Wait for the process and return its vectors; raise `FolderCheckError` if it fails."""
        try:
            status = self._process.wait(_SECONDS)
        except subprocess.TimeoutExpired:
            raise FolderCheckError(
                f"{self._way}: opening the folder and running the snippets took over {_SECONDS} s"
            ) from None
        if not self._outcome.is_file():
            last = (self._errors.read_text(errors="replace").strip().splitlines() or [f"exit status {status}"])[-1]
            raise FolderCheckError(f"{self._way}: the process ended early ({printable(last)})")
        outcome = self._outcome.read_text(encoding="utf-8")
        if outcome != open_folder.DONE:
            raise FolderCheckError(f"{self._way}: {printable(outcome)}")
        vectors: Vectors = np.load(self._vectors)
        return vectors


def _make_environment(run: Path) -> dict[str, str]:
    """Return this process's variables without access to a hub, and with the package that runs now on the path."""
    kept = {name: value for name, value in os.environ.items() if not name.upper().endswith("TOKEN")}
    packages = [str(Path(__file__).parents[3]), *filter(None, [os.environ.get("PYTHONPATH")])]
    return kept | {
        "HF_HUB_OFFLINE": "1",
        "MODELSCOPE_DOMAIN": "127.0.0.1:9",
        "MODELSCOPE_ENDPOINT": "http://127.0.0.1:9",
        # ModelScope copies code there to run it, which is removed with the work folder; no login is saved there.
        "MODELSCOPE_CACHE": str(run / "cache"),
        "MODELSCOPE_HOME": str(run / "home"),
        "MODELSCOPE_CREDENTIALS_PATH": str(run / "home"),
        "PYTHONPATH": os.pathsep.join(packages),
    }


def _compare(way: str, vectors: Vectors, expected: Vectors) -> float:
    """Return the largest difference of a value; raise `FolderCheckError` if it is too large."""
    tolerance = TOLERANCE
    if way == "onnx-int8":
        # 8 bits round lengths; the direction must be the same.
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
