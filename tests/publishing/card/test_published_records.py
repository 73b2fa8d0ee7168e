from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from modelscope_plugin.errors import InputError, ModelFolderError
from modelscope_plugin.publishing.card.records import read_figures, read_training_record


def _written(folder: Path, **changes: Any) -> Path:
    record = {"settings": {"seed": 1}, "stages": [], "base_model": "x", "files": ["model.safetensors"]} | changes
    (folder / "training.json").write_text(json.dumps(record), encoding="utf-8")
    return folder


def test_record_is_none_without_the_file(tmp_path: Path) -> None:
    assert read_training_record(tmp_path) is None


def test_record_of_another_trainer_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "training.json").write_text('{"log": "/home/me/log"}', encoding="utf-8")
    assert read_training_record(tmp_path) is None


def test_broken_record_is_named(tmp_path: Path) -> None:
    (tmp_path / "training.json").write_text("{", encoding="utf-8")
    with pytest.raises(ModelFolderError, match=r"training\.json: broken JSON"):
        read_training_record(tmp_path)


def test_hub_id_of_the_base_model_is_kept(tmp_path: Path) -> None:
    record = read_training_record(_written(tmp_path, base_model="owner/bert-base"))
    assert record == {"settings": {"seed": 1}, "stages": [], "base_model": "owner/bert-base"}


@pytest.mark.parametrize(
    "base", ["/data/bert", "bert", "./bert", "../bert", "C:\\bert", "a/b/c", "~/bert", "runs/bert"]
)
def test_path_of_the_base_model_is_dropped(base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runs").mkdir()
    monkeypatch.chdir(tmp_path)
    assert read_training_record(_written(tmp_path, base_model=base)) == {"settings": {"seed": 1}, "stages": []}


def test_what_is_not_known_stays_behind(tmp_path: Path) -> None:
    assert read_training_record(_written(tmp_path, log="/home/me/log")) == {"settings": {"seed": 1}, "stages": []}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"settings": {"batch_size": "x |\n\n```python\nimport os\n```"}}, r"settings\.batch_size must be a number"),
        ({"settings": {"views": 2.5}}, r"settings\.views must be a count"),
        ({"settings": {"seed": True}}, r"settings\.seed must be a number"),
        ({"settings": {"lr_scheduler_type": "a\nb"}}, r"settings\.lr_scheduler_type must be one short line"),
        ({"settings": {"unknown": {"deep": ["\u202e"]}}}, r"settings\.unknown\.deep\[0\] must be a number, true"),
        ({"settings": {"a\nb": 1}}, r"settings must be an object whose names are short lines"),
        ({"versions": {"torch": "2\n# Heading"}}, r"versions\.torch must be one short line"),
        ({"versions": ["2"]}, r"versions must be an object"),
        ({"stages": [{"stage": 1, "steps": 2}]}, r"stages\[0\]\.losses is missing"),
        ({"stages": [None]}, r"stages\[0\]\.stage is missing"),
        ({"stages": [{"stage": 1, "steps": 2, "losses": "no"}]}, r"stages\[0\]\.losses must be a list"),
        ({"stages": [{"stage": 1, "steps": 2, "losses": [None]}]}, r"stages\[0\]\.losses\[0\] must be a number"),
        ({"evaluation": {"recall@x": 1}}, r"evaluation\.recall@x must be a number under a name such as recall@4"),
        ({"evaluation": {"recall@1": None}}, r"evaluation\.recall@1 must be a number"),
        ({"evaluation": {"mentions": -1}}, r"evaluation\.mentions must be a count"),
        ({"data": {"train": {"mentions": 10**400}}}, r"data\.train\.mentions must be a count"),
        ({"losses": [float("nan")]}, r"losses\[0\] must be a number"),
    ],
)
def test_field_of_a_wrong_type_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelFolderError, match=rf"training\.json: {message}"):
        read_training_record(_written(tmp_path, **changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fingerprint": "other"}, "was not measured with this model"),
        ({"recall@1": "<b>"}, r"recall@1 must be a number, not '<b>'"),
        ({"retrieval": "dense\n\n# x"}, "retrieval must be one short line"),
        ({"mentions": None}, "holds no recall"),
    ],
)
def test_figures_of_a_wrong_type_are_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    figures = {"recall@1": 0.5, "mentions": 4, "entities": 8, "fingerprint": "f", "nil_recall_by_type": {"NIL_x": 0.5}}
    (tmp_path / "figures.json").write_text(json.dumps(figures), encoding="utf-8")
    assert read_figures(tmp_path / "figures.json", "f") == figures
    (tmp_path / "figures.json").write_text(json.dumps(figures | changes), encoding="utf-8")
    with pytest.raises(InputError, match=message):
        read_figures(tmp_path / "figures.json", "f")
