from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from small_training import train_small

from modelscope_plugin.errors import InputError
from modelscope_plugin.training.record import RECORD_FILE, StageResult


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


@pytest.mark.parametrize("stage", [0, -1, 10**400])
def test_number_of_a_stage_that_can_name_no_folder_is_refused(stage: int) -> None:
    record = asdict(StageResult(1, [1.0], False, 8, 8, 2.5, None, None)) | {"stage": stage}
    with pytest.raises(InputError, match=r"stages\[0\]\.stage"):
        StageResult.from_record(record, "stages[0]")
