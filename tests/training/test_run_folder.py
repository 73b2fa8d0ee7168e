from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import shutil
from pathlib import Path

import pytest
from small_training import train_small

from modelscope_plugin.errors import InputError, TrainingError
from modelscope_plugin.storage.atomic_write import replace_file, replace_folder
from modelscope_plugin.training.record import StageResult
from modelscope_plugin.training.run_folder import RunFolder
from modelscope_plugin.training.training_state import BEST_WEIGHTS_FILE, CHECKPOINT_FOLDER

STAGE = StageResult(
    stage=1, losses=[0.5], collapsed=False, steps=3, best_step=3, seconds=0.1, mining=None, evaluation=None
)
IDENTITY = {"settings": {"seed": 1, "dropout": None}, "data": {"train": {"count": 3}}}


def _interrupted(tmp_path: Path) -> RunFolder:
    run = RunFolder(tmp_path / "model")
    run.open(IDENTITY)
    run.close()
    return run


def test_run_goes_on_with_its_finished_stages(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "model")
    run.open(IDENTITY)
    run.files.checkpoints(1).mkdir()
    run.files.model(1).mkdir()
    run.finish_stage(STAGE)
    run.close()
    assert not run.files.checkpoints(1).exists()
    again = RunFolder(tmp_path / "model")
    again.check(resume=True)
    again.open(IDENTITY)
    assert again.stages == [STAGE]


def test_interrupted_run_is_not_overwritten_without_being_asked(tmp_path: Path) -> None:
    _interrupted(tmp_path)
    with pytest.raises(InputError, match=r"holds an interrupted training; resume it .*--resume.*, or delete it"):
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


@pytest.mark.parametrize("content", ["{", json.dumps({"format": 2, "identity": IDENTITY, "stages": [{"stage": 1}]})])
def test_damaged_run_file_is_said(tmp_path: Path, content: str) -> None:
    run = _interrupted(tmp_path)
    (run.path / "run.json").write_text(content)
    with pytest.raises(TrainingError, match=r"run\.json is damaged \(.*\); delete"):
        RunFolder(tmp_path / "model").open(IDENTITY)


def test_folder_in_place_of_the_run_file_is_said(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "model")
    (run.path / "run.json").mkdir(parents=True)
    with pytest.raises(TrainingError, match=r"run\.json is damaged \(.*\); delete"):
        run.open(IDENTITY)


def test_missing_model_of_a_finished_stage_is_said(tmp_path: Path) -> None:
    run = _interrupted(tmp_path)
    run.finish_stage(STAGE)
    with pytest.raises(TrainingError, match=r"stage-1 is missing; delete .*model\.training and train anew"):
        RunFolder(tmp_path / "model").open(IDENTITY)


def test_folder_that_cannot_be_made_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(
        TrainingError,
        match=r"model\.training cannot be written .*Permission denied.*; change its permissions and resume",
    ):
        RunFolder(tmp_path / "model").open(IDENTITY)


def test_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "model.training"
    folder.mkdir()
    RunFolder(tmp_path / "model").check(resume=False)
    (folder / "diary.txt").write_text("mine")
    for resume in (False, True):
        with pytest.raises(InputError, match=r"holds something else \(diary\.txt\); move it away"):
            RunFolder(tmp_path / "model").check(resume)


@pytest.mark.parametrize("resume", [False, True])
def test_run_that_is_going_on_is_not_disturbed(tmp_path: Path, resume: bool) -> None:
    run = RunFolder(tmp_path / "model")
    run.open(IDENTITY)
    with pytest.raises(TrainingError, match="is in use: another process trains there"):
        RunFolder(tmp_path / "model").check(resume)
    run.close()
    RunFolder(tmp_path / "model").check(resume=True)


def _leave_drafts(*paths: Path) -> None:
    """Leave what a process leaves that is killed while it writes files and folders."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "unlink", lambda *_, **__: None)
        patch.setattr(shutil, "rmtree", lambda *_, **__: None)
        for path in paths:
            with (
                contextlib.suppress(KeyboardInterrupt),
                (replace_file if path.suffix else replace_folder)(path) as draft,
            ):
                (draft if path.suffix else draft / "weights").touch()
                raise KeyboardInterrupt


def test_drafts_of_a_killed_process_are_removed(tmp_path: Path) -> None:
    run = _interrupted(tmp_path)
    run.files.checkpoints(1).mkdir()
    checkpoints = [run.files.checkpoints(1) / BEST_WEIGHTS_FILE, run.files.checkpoints(1) / CHECKPOINT_FOLDER]
    _leave_drafts(
        run.path / "run.json", run.files.negatives(2), run.files.model(1), run.files.unfinished_model(2), *checkpoints
    )
    assert len(list(run.path.rglob(".*"))) == 6
    RunFolder(tmp_path / "model").open(IDENTITY)
    assert sorted(entry.name for entry in run.path.rglob("*")) == ["lock", "run.json"]


def test_a_checkpoint_that_a_killed_process_was_about_to_replace_is_brought_back(tmp_path: Path) -> None:
    run = _interrupted(tmp_path)
    checkpoint = run.files.checkpoints(1) / CHECKPOINT_FOLDER
    checkpoint.with_name(f".{CHECKPOINT_FOLDER}.0123abcd.earlier").mkdir(parents=True)
    checkpoint.with_name(f".{CHECKPOINT_FOLDER}.4567abcd.part").mkdir()
    RunFolder(tmp_path / "model").open(IDENTITY)
    assert list(run.files.checkpoints(1).iterdir()) == [checkpoint]


def test_draft_of_the_first_file_does_not_make_the_folder_foreign(tmp_path: Path) -> None:
    folder = tmp_path / "model.training"
    folder.mkdir()
    (folder / "lock").touch()
    _leave_drafts(folder / "run.json")
    run = RunFolder(tmp_path / "model")
    run.check(resume=False)
    run.open(IDENTITY)
    assert sorted(entry.name for entry in folder.iterdir()) == ["lock", "run.json"]


FOREIGN = ("diary.txt", "data.part", ".run.json.part", "stage-1.zip", "checkpoints-1/mine.part")


def test_files_of_others_survive_a_resumed_and_a_finished_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = _interrupted(tmp_path)
    run.files.checkpoints(1).mkdir()
    for name in FOREIGN:
        (run.path / name).write_text("mine")
    again = RunFolder(tmp_path / "model")
    again.check(resume=True)
    again.open(IDENTITY)
    assert all((run.path / name).read_text() == "mine" for name in FOREIGN)
    again.files.model(1).mkdir()
    (again.files.checkpoints(1) / CHECKPOINT_FOLDER).mkdir()
    again.remove()
    left = sorted(str(entry.relative_to(run.path)) for entry in run.path.rglob("*") if entry.is_file())
    assert left == sorted(FOREIGN)
    assert f"{run.path} is left, for it holds something else (.run.json.part)" in caplog.text
    with pytest.raises(InputError, match=r"holds something else \(\.run\.json\.part\); move it away"):
        RunFolder(tmp_path / "model").check(resume=True)


def test_removal_that_was_killed_is_completed_and_never_taken_for_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunFolder(tmp_path / "model")
    run.open(IDENTITY)
    run.files.model(1).mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda *_, **__: pytest.fail("killed"))
        with pytest.raises(pytest.fail.Exception):
            run.remove()
    run.close()
    assert run.path.exists()
    again = RunFolder(tmp_path / "model")
    assert not again.is_started
    again.check(resume=False)
    assert not run.path.exists()


def test_run_of_an_earlier_version_is_refused(tmp_path: Path) -> None:
    run = _interrupted(tmp_path)
    (run.path / "run.json").write_text(json.dumps({"identity": IDENTITY, "stages": []}))
    with pytest.raises(TrainingError, match=r"training of another version of this package; finish it with that"):
        RunFolder(tmp_path / "model").open(IDENTITY)


@pytest.mark.parametrize("content", ["{}", "[1]", '{"format": 2, "identity": 1, "stages": []}'])
def test_run_file_of_something_else_is_left_alone(base_folder: Path, tmp_path: Path, content: str) -> None:
    (tmp_path / "model.training").mkdir()
    file = tmp_path / "model.training" / "run.json"
    file.write_text(content)
    with pytest.raises(TrainingError, match=r"is damaged|another version"):
        train_small(base_folder, tmp_path / "model", max_epochs=1, resume=True)
    assert file.read_text() == content


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK])
def test_file_system_without_locks_does_not_stop_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(code, "no locks here")

    monkeypatch.setattr(fcntl, "flock", refuse)
    run = RunFolder(tmp_path / "model")
    run.check(resume=False)
    run.open(IDENTITY)
    run.remove()
    assert not run.path.exists()


def test_folder_is_discarded_only_while_nothing_is_in_it(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "model")
    run.open(IDENTITY)
    run.files.model(1).mkdir()
    (run.files.model(1) / "config.json").write_text("{}")
    run.discard_if_empty()
    assert run.path.exists()
    shutil.rmtree(run.files.model(1))
    run.files.checkpoints(1).mkdir()
    run.discard_if_empty()
    assert not run.path.exists()
