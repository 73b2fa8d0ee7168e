"""Arbitrary JSON in place of any value of a JSON file: it is read, or refused by one error that names the file."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import fuzz_examples
from hypothesis import given, settings
from hypothesis import strategies as st

from modelscope_plugin.config.configuration import default_configuration
from modelscope_plugin.config.evaluation_settings import find_ks
from modelscope_plugin.config.model_settings import ModelSettings, WindowSettings
from modelscope_plugin.config.training_settings import read_training_configuration, read_training_settings
from modelscope_plugin.data import Mention
from modelscope_plugin.data.views import ViewSettings
from modelscope_plugin.errors import ModelFolderError, PluginError
from modelscope_plugin.publishing.card.facts import CardFacts
from modelscope_plugin.publishing.card.records import read_training_record
from modelscope_plugin.publishing.card.render import render_card
from modelscope_plugin.publishing.export.export_record import EXPORT_FILE, read_export_record, write_export_record
from modelscope_plugin.training.negatives_file import read_negatives
from modelscope_plugin.training.record import StageResult, _digest, read_finished_stages
from modelscope_plugin.training.run_folder import RunFolder
from modelscope_plugin.training.training_state import Progress, load_checkpoint, save_checkpoint

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
DEEP = "[" * 100_000
EVALUATION = {"recall@1": 0.5, "recall@4": 0.75, "mentions": 4, "entities": 6, "mrr": 0.6, "retrieval": "dense"}
STAGE = asdict(StageResult(1, [1.0, 0.5], False, 8, 8, 2.5, {"mentions": 4, "negatives": 8}, EVALUATION))
IDENTITY = {"settings": {"seed": 1}, "data": {}, "versions": {"torch": "2"}}
TRAINING = {
    **IDENTITY,
    "settings": {"seed": 1, "views": 2, "eval_steps": 0, "learning_rate": 0.1, "hard_negatives": 2},
    "data": {"train": {"count": 4, "checksum": "c", "mentions": 4}, "eval": {"count": 4, "checksum": "d"}},
    "mining": {"range_max": 10},
    "processes": 1,
    "run": _digest(IDENTITY),
    "stage": 1,
    "stages": [STAGE],
    "evaluation": EVALUATION,
    "base_model": "owner/name",
}
CARD = {
    "name": "owner/name", "dimension": 8, "standalone": False, "sentence_transformers": True, "onnx": False, "views": 1,
    "license": "mit", "architecture": "bert", "layers": 1, "parameters": 9, "max_length": 8, "emb_pooler_type": "cls",
    "normalize": False, "towers": 1, "mention_prefix": "", "entity_prefix": "", "has_markers": True, "indexed": 0,
    "measured": None,
}  # fmt: skip


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all values in a value, its own included."""
    yield path
    for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from paths(item, (*path, key))


@st.composite
def changed(draw: st.DrawFn, original: Any) -> Any:
    """A value in which something is replaced by arbitrary JSON, removed, or added."""
    value = copy.deepcopy({"": original})
    path = ("", *draw(st.sampled_from(list(paths(original)))))
    parent = value
    for key in path[:-1]:
        parent = parent[key]
    kind = draw(st.sampled_from(["replace", "remove", "add"]))
    if kind == "remove" and len(path) > 1:
        del parent[path[-1]]
    elif kind == "add" and isinstance(parent[path[-1]], dict):
        parent[path[-1]][draw(st.text(max_size=8) | st.sampled_from(["recall@x", "recall@1", "files"]))] = draw(JSON)
    else:
        parent[path[-1]] = draw(JSON)
    return value[""]


def read(action: Callable[[], object], file: Path, pairs: tuple[str, ...] = ()) -> None:
    """Read a file, or get one error that names it, or one of some pairs of settings that do not go together."""
    message = file.name
    try:
        action()
    except PluginError as error:
        message = str(error)
    assert file.name in message or message.startswith(pairs)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the examples of a test share."""
    return tmp_path_factory.mktemp("fuzz")


@settings(max_examples=fuzz_examples(300))
@given(value=changed(default_configuration()))
def test_configuration(value: Any, folder: Path) -> None:
    file = folder / "configuration.json"
    file.write_text(json.dumps(value), encoding="utf-8")

    def use() -> None:
        configuration = read_training_configuration(folder, {}, (ViewSettings, ModelSettings, WindowSettings))
        read_training_settings(configuration)
        for kind in (ViewSettings, ModelSettings, WindowSettings):
            kind.from_configuration(configuration)
        find_ks(configuration)

    read(use, file, ("train.", "merge_rounds="))


@settings(max_examples=fuzz_examples(300))
@given(value=changed(TRAINING))
def test_training_record(value: Any, folder: Path) -> None:
    file = folder / "training.json"
    file.write_text(json.dumps(value), encoding="utf-8")
    read(lambda: read_finished_stages(folder, IDENTITY), file)

    def use() -> None:
        render_card(CardFacts(training=read_training_record(folder), **CARD))

    read(use, file)


@settings(max_examples=fuzz_examples(300))
@given(data=st.data())
def test_export_record(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("export")
    (folder / "README.md").write_text("card")
    (folder / "config.json").write_text("{}")
    write_export_record(folder, "owner/name", "mit", "f", False)
    original = json.loads((folder / EXPORT_FILE).read_text(encoding="utf-8"))
    value = data.draw(changed(original))
    (folder / EXPORT_FILE).write_text(json.dumps(value), encoding="utf-8")
    read(lambda: read_export_record(folder), folder)


@settings(max_examples=fuzz_examples(300))
@given(value=changed({"format": 2, "identity": IDENTITY, "stages": [STAGE]}))
def test_run_record(value: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    run = RunFolder(tmp_path_factory.mktemp("run") / "out")
    run.path.mkdir()
    (run.path / "run.json").write_text(json.dumps(value), encoding="utf-8")

    def use() -> None:
        assert all(stage.mean_recall >= 0 for stage in run.open(IDENTITY))

    read(use, run.path)
    run.close()


@pytest.fixture(scope="module")
def checkpoint(folder: Path) -> Path:
    """A checkpoint of a small model."""
    save_checkpoint(folder / "checkpoint", torch.nn.Linear(2, 2), {"step": 1}, Progress(losses=[1.0]))
    return folder / "checkpoint"


@settings(max_examples=fuzz_examples(60))
@given(value=changed(asdict(Progress(1, [1.0], [0.5], [2.0], 0.5))))
def test_progress(value: Any, checkpoint: Path) -> None:
    (checkpoint / "progress.json").write_text(json.dumps(value), encoding="utf-8")
    read(lambda: load_checkpoint(checkpoint, torch.nn.Linear(2, 2))[1].end_epoch(), checkpoint)


@settings(max_examples=fuzz_examples(200))
@given(value=changed({"report": {"mentions": 1, "negatives": 2}, "negatives": [[0, ["a", "b"]]]}))
def test_negatives(value: Any, folder: Path) -> None:
    file = folder / "negatives-2.json"
    file.write_text(json.dumps(value), encoding="utf-8")
    read(lambda: read_negatives(file, [Mention("大鹏", 0, 2)]), file)


@pytest.mark.parametrize("name", ["training.json", "export.json", "configuration.json"])
def test_json_nested_deeply_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(DEEP)
    readers: dict[str, Callable[[Path], object]] = {
        "training.json": read_training_record,
        "export.json": read_export_record,
        "configuration.json": read_training_configuration,
    }
    with pytest.raises(ModelFolderError, match=rf"{name}.* nested more than 50 deep"):
        readers[name](tmp_path)
