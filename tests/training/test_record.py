from __future__ import annotations

import json
from pathlib import Path

import pytest
from small_training import train_small

from modelscope_plugin.training.record import RECORD_FILE


def test_record_holds_settings_versions_and_losses(base_folder: Path, tmp_path: Path) -> None:
    result = train_small(base_folder, tmp_path / "out", max_epochs=2)
    record = json.loads((tmp_path / "out" / RECORD_FILE).read_text())
    assert record["losses"] == result.best.losses
    assert record["settings"]["learning_rate"] == 2e-3
    assert record["data"]["knowledge_base"]["count"] == 6
    assert len(record["data"]["train"]["checksum"]) == 32
    assert set(record["versions"]) == {"modelscope_plugin", "torch", "transformers", "python"}


def test_record_names_the_base_by_its_whole_path(
    base_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(base_folder.parent)
    train_small(Path(base_folder.name), tmp_path / "out", max_epochs=1)
    assert json.loads((tmp_path / "out" / RECORD_FILE).read_text())["base_model"] == str(base_folder.resolve())
