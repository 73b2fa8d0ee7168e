"""What a training run has on disk until it has ended: enough to resume it after it was killed."""

from __future__ import annotations

import json
import logging
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from modelscope_plugin.errors import InputError, TrainingError
from modelscope_plugin.storage.files import write_json
from modelscope_plugin.training.training_state import BEST_WEIGHTS_FILE, CHECKPOINT_FOLDER, disk_errors

logger = logging.getLogger(__name__)

# A run file is renamed to the second name before anything else is removed, so that half a run is never taken for one.
_RUN_FILE, _REMOVED_FILE, _LOCK_FILE = "run.json", "removed.json", "lock"
_FORMAT = 2
_MODELS = r"stage-\d+(-unfinished)?"
_CONTENT = re.compile(rf"{_MODELS}|negatives-\d+\.json")
_CHECKPOINTS = re.compile(r"checkpoints-\d+")
_CHECKPOINT = re.compile(rf"{re.escape(BEST_WEIGHTS_FILE)}|{re.escape(CHECKPOINT_FOLDER)}")
# The drafts of `replace_file` and `replace_folder`, left by a process that was killed.
_FILE_DRAFT, _FOLDER_DRAFT = r"\.\d+\.part", r"\.[a-z0-9_]{8}\.(part|earlier)"
_DRAFT = re.compile(rf"\.(run|negatives-\d+)\.json{_FILE_DRAFT}|\.{_MODELS}{_FOLDER_DRAFT}")
_CHECKPOINT_DRAFT = re.compile(
    rf"\.{re.escape(BEST_WEIGHTS_FILE)}{_FILE_DRAFT}|\.{re.escape(CHECKPOINT_FOLDER)}{_FOLDER_DRAFT}"
)
# Copies of the weights that a run has on disk at once, beside the models of stages: two checkpoints with both moments
# of AdamW and the best weights.
_COPIES = 7


def run_folder_of(output: Path) -> Path:
    """The run folder of a model folder: ``NAME.training`` beside it."""
    output = output.resolve()
    return output.with_name(f"{output.name}.training")


class RunFolder:
    """The folder beside the model folder to be: finished stages, mined negatives, the latest checkpoint.

    Args:
        output: The model folder to be written.

    Attributes:
        path: The run folder.
        stages: Records of the stages that are finished.
    """

    def __init__(self, output: Path) -> None:
        self.path = run_folder_of(output)
        self.stages: list[dict[str, Any]] = []
        self._identity: dict[str, Any] = {}
        self._lock: FileLock | None = None

    @property
    def is_started(self) -> bool:
        """Whether an earlier run is there."""
        return (self.path / _RUN_FILE).exists()

    @property
    def is_open(self) -> bool:
        """Whether this run has begun to use the folder."""
        return bool(self._identity)

    def check(self, resume: bool) -> None:
        """Lock the folder, where there is one.

        Args:
            resume: Whether an interrupted run may be resumed.

        Raises:
            InputError: If the folder is not ours, or holds a run that is not to be resumed.
            TrainingError: If another process trains there.
        """
        if (self.path / _REMOVED_FILE).exists():
            self._acquire_lock()
            self.remove()
        if not self.path.exists():
            return
        foreign = self._find_foreign()
        if foreign is not None:
            raise InputError(
                f"{self.path} is needed for checkpoints and holds something else ({foreign}); move it away"
            )
        self._acquire_lock()
        if self.is_started and not resume:
            self.close()
            raise InputError(
                f"{self.path} holds an interrupted training; resume it (resume=True, --resume), or delete it"
            )

    def open(self, identity: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Start a run, or resume the one that is there.

        Args:
            identity: All that decides the result: settings, checksums of the data, the base model.

        Returns:
            Records of the stages that are finished.

        Raises:
            TrainingError: If the earlier run was another one, or one of an earlier version of this package.
        """
        self._identity = json.loads(json.dumps(identity))
        self.path.mkdir(parents=True, exist_ok=True)
        self._acquire_lock()
        self._remove_drafts()
        if not self.is_started:
            self._write()
            return self.stages
        file = self.path / _RUN_FILE
        try:
            run = json.loads(file.read_text(encoding="utf-8"))
            earlier, self.stages, version = run["identity"], run["stages"], run.get("format", 1)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise TrainingError(f"{file} is damaged; delete {self.path} and train anew") from None
        if version != _FORMAT:
            raise TrainingError(
                f"{self.path} holds a training of another version of this package; finish it with that version, or "
                "delete the folder to start anew"
            )
        different = sorted(differences(earlier, self._identity))
        if different:
            raise TrainingError(
                f"{self.path} holds a training with other {', '.join(different)}; repeat the call as it was, or delete "
                "the folder to start anew"
            )
        return self.stages

    def check_space(self, weights_size: int, stages: int) -> None:
        """Raise `TrainingError` where the disk has no room for what is still to be written.

        Args:
            weights_size: Bytes of the weights of the model.
            stages: Stages of the whole run.
        """
        to_train = stages - len(self.stages)
        needed = (1 + (to_train + _COPIES if to_train else 0)) * weights_size
        parent = self.path.parent
        free = shutil.disk_usage(parent).free
        if to_train:
            # What is there already is replaced on the way.
            free += sum(file.stat().st_size for file in self.path.rglob("*") if file.is_file())
        if free < needed:
            raise TrainingError(
                f"{parent} has {free / 1e6:,.0f} MB free and the checkpoints of a run need {needed / 1e6:,.0f} MB; "
                "make room or write to another disk"
            )

    def finish_stage(self, record: Mapping[str, Any]) -> None:
        """Note that a stage is finished, and remove its checkpoints."""
        self.stages.append(dict(record))
        self._write()
        self.remove_checkpoints(len(self.stages))

    def model(self, stage: int) -> Path:
        """The model folder of a stage."""
        return self.path / f"stage-{stage}"

    def negatives(self, stage: int) -> Path:
        """The file with the hard negatives that a stage trains with."""
        return self.path / f"negatives-{stage}.json"

    def unfinished_model(self, stage: int) -> Path:
        """The model folder of the latest checkpoint of a stage that has diverged."""
        return self.path / f"stage-{stage}-unfinished"

    def checkpoints(self, stage: int) -> Path:
        """The folder for the checkpoints of a stage."""
        return self.path / f"checkpoints-{stage}"

    def remove_checkpoints(self, stage: int) -> None:
        """Remove the checkpoints of a stage."""
        _remove_checkpoints(self.checkpoints(stage))

    def discard_if_empty(self) -> None:
        """Remove the folder where there is nothing in it to resume."""
        content = _matching(self.path, _CONTENT, _CHECKPOINTS)
        if all(entry.is_dir() and not any(entry.iterdir()) for entry in content):
            self.remove()

    def close(self) -> None:
        """Release the lock; another process may resume the run."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def remove(self) -> None:
        """Remove the run with all its files; others are left, and named in a warning."""
        if not self.path.is_dir():
            self.close()
            return
        removed = self.path / _REMOVED_FILE
        if self.is_started:
            (self.path / _RUN_FILE).replace(removed)
        self._remove_drafts()
        if removed.exists():
            for folder in _matching(self.path, _CHECKPOINTS):
                _remove_checkpoints(folder)
            _remove(_matching(self.path, _CONTENT))
            removed.unlink()
        self.close()
        (self.path / _LOCK_FILE).unlink(missing_ok=True)
        foreign = self._find_foreign()
        if foreign is None:
            self.path.rmdir()
        else:
            logger.warning("%s is left, for it holds something else (%s)", self.path, foreign)

    def _find_foreign(self) -> str | None:
        """Name a file that no run has made, in a folder without a run."""
        if self.is_started:
            return None
        if not self.path.is_dir():
            return self.path.name
        names = sorted(entry.name for entry in self.path.iterdir())
        return next((name for name in names if name != _LOCK_FILE and not _DRAFT.fullmatch(name)), None)

    def _remove_drafts(self) -> None:
        """Remove what a killed process was about to write."""
        _remove(_matching(self.path, _DRAFT))
        for folder in _matching(self.path, _CHECKPOINTS):
            _remove(_matching(folder, _CHECKPOINT_DRAFT))

    def _write(self) -> None:
        with disk_errors(self.path):
            record = {"format": _FORMAT, "identity": self._identity, "stages": self.stages}
            write_json(self.path / _RUN_FILE, record)

    def _acquire_lock(self) -> None:
        """Hold a lock as long as this process lives, where the file system has locks."""
        if self._lock is not None:
            return
        lock = FileLock(self.path / _LOCK_FILE, timeout=0, thread_local=False, fallback_to_soft=False)
        try:
            lock.acquire()
        except Timeout:
            raise TrainingError(
                f"{self.path} is in use: another process trains there; wait for it or stop it"
            ) from None
        except PermissionError as error:
            raise TrainingError(f"{self.path} cannot be locked ({error}); train as the user it belongs to") from error
        except (OSError, NotImplementedError):
            # Some network file systems have no locks.
            return
        self._lock = lock


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """The keys, with dots between, under which two nested records differ."""
    names = []
    for key in {*one, *other}:
        mine, yours = one.get(key), other.get(key)
        if isinstance(mine, dict) and isinstance(yours, dict):
            names += [f"{key}.{name}" for name in differences(mine, yours)]
        elif mine != yours:
            names.append(key)
    return names


def _matching(folder: Path, *names: re.Pattern[str]) -> list[Path]:
    """What a folder holds under such names."""
    return [entry for entry in folder.iterdir() if any(name.fullmatch(entry.name) for name in names)]


def _remove_checkpoints(folder: Path) -> None:
    """Remove a folder of checkpoints, or only the checkpoints where it holds other files too."""
    if folder.is_dir():
        _remove(_matching(folder, _CHECKPOINT, _CHECKPOINT_DRAFT))
        if not any(folder.iterdir()):
            folder.rmdir()


def _remove(entries: Iterable[Path]) -> None:
    """Remove files, and folders with all that is in them."""
    for entry in entries:
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)
