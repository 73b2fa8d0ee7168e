from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from modelscope_plugin.errors import InputError, TrainingError
from modelscope_plugin.training.run_folder import RunFolder

IDENTITY = {"settings": {"seed": 1, "dropout": None}, "data": {"train": {"count": 3}}}


def _interrupted(tmp_path: Path) -> RunFolder:
    run = RunFolder(tmp_path / "model")
    run.open(IDENTITY)
    run.close()
    return run


def test_run_goes_on_with_its_finished_stages(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "model")
    run.open(IDENTITY)
    run.checkpoints(1).mkdir()
    run.finish_stage({"stage": 1, "losses": [0.5]})
    run.close()
    assert not run.checkpoints(1).exists()
    again = RunFolder(tmp_path / "model")
    again.check(resume=True)
    again.open(IDENTITY)
    assert again.stages == [{"stage": 1, "losses": [0.5]}]


def test_interrupted_run_is_not_overwritten_without_being_asked(tmp_path: Path) -> None:
    _interrupted(tmp_path)
    with pytest.raises(InputError, match=r"holds an interrupted training; go on with it .*--resume.*, or delete it"):
        RunFolder(tmp_path / "model").check(resume=False)


def test_resume_without_an_earlier_run_starts_one(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "model")
    run.check(resume=True)
    run.open(IDENTITY)
    assert run.stages == []


def test_another_run_is_told_by_what_differs(tmp_path: Path) -> None:
    _interrupted(tmp_path)
    other = {"settings": {"seed": 2, "dropout": None}, "data": {"train": {"count": 4}}}
    with pytest.raises(TrainingError, match=r"other data\.train\.count, settings\.seed; repeat the call as it was"):
        RunFolder(tmp_path / "model").open(other)


def test_damaged_run_file_is_said(tmp_path: Path) -> None:
    run = _interrupted(tmp_path)
    (run.path / "run.json").write_text("{")
    with pytest.raises(TrainingError, match=r"run\.json is damaged; delete"):
        RunFolder(tmp_path / "model").open(IDENTITY)


def test_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "model.training"
    folder.mkdir()
    RunFolder(tmp_path / "model").check(resume=False)
    (folder / "diary.txt").write_text("mine")
    for resume in (False, True):
        with pytest.raises(InputError, match="holds something else; move it away"):
            RunFolder(tmp_path / "model").check(resume)


@pytest.mark.parametrize("resume", [False, True])
def test_run_that_is_going_on_is_not_disturbed(tmp_path: Path, resume: bool) -> None:
    run = RunFolder(tmp_path / "model")
    run.open(IDENTITY)
    with pytest.raises(TrainingError, match="is in use: another process trains there"):
        RunFolder(tmp_path / "model").check(resume)
    run.close()
    RunFolder(tmp_path / "model").check(resume=True)


def test_killed_drafts_are_no_run_and_are_removed(tmp_path: Path) -> None:
    folder = tmp_path / "model.training"
    folder.mkdir()
    (folder / "lock").touch()
    (folder / ".run.json.7.part").write_text("{")
    (tmp_path / ".model.training.7.gone").mkdir()
    run = RunFolder(tmp_path / "model")
    run.check(resume=False)
    run.open(IDENTITY)
    assert sorted(entry.name for entry in tmp_path.rglob("*")) == ["lock", "model.training", "run.json"]


def test_folder_is_discarded_only_while_nothing_is_in_it(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "model")
    run.open(IDENTITY)
    run.model(1).mkdir()
    (run.model(1) / "config.json").write_text("{}")
    run.discard_if_empty()
    assert run.path.exists()
    shutil.rmtree(run.model(1))
    run.checkpoints(1).mkdir()
    run.discard_if_empty()
    assert not run.path.exists()
