from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from modelscope_plugin.errors import ModelFolderError
from modelscope_plugin.publishing.export.training_record import published_record


def _written(folder: Path, **changes: Any) -> Path:
    record = {"settings": {"seed": 1}, "stages": [], "base_model": "x", "files": ["model.safetensors"]} | changes
    (folder / "training.json").write_text(json.dumps(record), encoding="utf-8")
    return folder


def test_record_is_none_without_the_file(tmp_path: Path) -> None:
    assert published_record(tmp_path) is None


def test_record_of_another_trainer_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "training.json").write_text('{"log": "/home/me/log"}', encoding="utf-8")
    assert published_record(tmp_path) is None


def test_broken_record_is_named(tmp_path: Path) -> None:
    (tmp_path / "training.json").write_text("{", encoding="utf-8")
    with pytest.raises(ModelFolderError, match=r"training\.json: broken JSON"):
        published_record(tmp_path)


def test_hub_id_of_the_base_model_is_kept(tmp_path: Path) -> None:
    record = published_record(_written(tmp_path, base_model="owner/bert-base"))
    assert record == {"settings": {"seed": 1}, "stages": [], "base_model": "owner/bert-base"}


@pytest.mark.parametrize(
    "base", ["/data/bert", "bert", "./bert", "../bert", "C:\\bert", "a/b/c", "~/bert", "runs/bert"]
)
def test_path_of_the_base_model_is_dropped(base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runs").mkdir()
    monkeypatch.chdir(tmp_path)
    assert published_record(_written(tmp_path, base_model=base)) == {"settings": {"seed": 1}, "stages": []}


def test_what_is_not_known_stays_behind(tmp_path: Path) -> None:
    assert published_record(_written(tmp_path, log="/home/me/log")) == {"settings": {"seed": 1}, "stages": []}
