from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from modelscope_plugin.errors import InputError, TrainingError
from modelscope_plugin.trainers.run_folder import RunFolder

IDENTITY = {"settings": {"seed": 1, "dropout": None}, "data": {"train": {"count": 3}}}


def test_run_goes_on_with_its_finished_stages(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "model")
    run.open(IDENTITY)
    run.checkpoints(1).mkdir()
    run.finish_stage({"stage": 1, "losses": [0.5]})
    assert not run.checkpoints(1).exists()
    again = RunFolder(tmp_path / "model")
    again.check(resume=True)
    again.open(IDENTITY)
    assert again.stages == [{"stage": 1, "losses": [0.5]}]


def test_interrupted_run_is_not_overwritten_without_being_asked(tmp_path: Path) -> None:
    RunFolder(tmp_path / "model").open(IDENTITY)
    with pytest.raises(InputError, match=r"holds an interrupted training; go on with it .*--resume.*, or delete it"):
        RunFolder(tmp_path / "model").check(resume=False)


def test_resume_without_an_earlier_run_starts_one(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "model")
    run.check(resume=True)
    run.open(IDENTITY)
    assert run.stages == []


def test_another_run_is_told_by_what_differs(tmp_path: Path) -> None:
    RunFolder(tmp_path / "model").open(IDENTITY)
    other = {"settings": {"seed": 2, "dropout": None}, "data": {"train": {"count": 4}}}
    with pytest.raises(TrainingError, match=r"other data\.train\.count, settings\.seed; repeat the call as it was"):
        RunFolder(tmp_path / "model").open(other)


def test_damaged_run_file_is_said(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "model")
    run.open(IDENTITY)
    (run.path / "run.json").write_text("{")
    with pytest.raises(TrainingError, match=r"run\.json is damaged; delete"):
        RunFolder(tmp_path / "model").open(IDENTITY)


def test_folder_is_discarded_only_while_nothing_is_in_it(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "model")
    run.open(IDENTITY)
    run.model(1).mkdir()
    run.discard_if_empty()
    assert run.path.exists()
    shutil.rmtree(run.model(1))
    run.discard_if_empty()
    assert not run.path.exists()
