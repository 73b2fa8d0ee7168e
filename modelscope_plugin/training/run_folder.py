"""What a training run has on disk until it has ended: enough to go on after it was killed."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from modelscope_plugin.errors import InputError, TrainingError
from modelscope_plugin.storage.files import write_json
from modelscope_plugin.training.training_state import disk_errors

_RUN_FILE, _LOCK_FILE = "run.json", "lock"


class RunFolder:
    """The folder beside the model folder to be: finished stages, mined negatives, the latest checkpoint.

    Args:
        output: The model folder to be written; ``NAME.training`` beside it is this folder.
    """

    def __init__(self, output: Path) -> None:
        output = output.resolve()
        self.path = output.with_name(f"{output.name}.training")
        self.stages: list[dict[str, Any]] = []
        """Records of the stages that are finished."""
        self._identity: dict[str, Any] = {}
        self._lock: int | None = None

    @property
    def is_started(self) -> bool:
        """Whether an earlier run is there."""
        return (self.path / _RUN_FILE).exists()

    @property
    def is_open(self) -> bool:
        """Whether this run has begun to use the folder."""
        return bool(self._identity)

    def check(self, resume: bool) -> None:
        """Take hold of the folder, where it is there.

        Args:
            resume: Whether an interrupted run may be gone on with.

        Raises:
            InputError: If the folder is not ours, or holds a run that is not to be gone on with.
            TrainingError: If a run is going on there.
        """
        if not self.path.exists():
            return
        if not self.path.is_dir() or (not self.is_started and any(map(_is_foreign, self.path.iterdir()))):
            raise InputError(f"{self.path} is needed for checkpoints and holds something else; move it away")
        self._lock = _locked(self.path / _LOCK_FILE)
        if self.is_started and not resume:
            self.close()
            raise InputError(
                f"{self.path} holds an interrupted training; go on with it (resume=True, --resume), or delete it"
            )

    def open(self, identity: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Start, or go on where an earlier run has stopped.

        Args:
            identity: All that decides the result: settings, checksums of the data, the base model.

        Returns:
            Records of the stages that are finished.

        Raises:
            TrainingError: If the earlier run was another one.
        """
        self._identity = json.loads(json.dumps(identity))
        self.path.mkdir(parents=True, exist_ok=True)
        if self._lock is None:
            self._lock = _locked(self.path / _LOCK_FILE)
        self._sweep()
        file = self.path / _RUN_FILE
        if not file.exists():
            self._write()
            return self.stages
        try:
            run = json.loads(file.read_text(encoding="utf-8"))
            earlier, self.stages = run["identity"], run["stages"]
        except (ValueError, KeyError, TypeError):
            raise TrainingError(f"{file} is damaged; delete {self.path} and train anew") from None
        different = sorted(differences(earlier, self._identity))
        if different:
            raise TrainingError(
                f"{self.path} holds a training with other {', '.join(different)}; repeat the call as it was, or delete "
                "the folder to start anew"
            )
        return self.stages

    def finish_stage(self, record: Mapping[str, Any]) -> None:
        """Note that a stage is finished, and drop its checkpoints."""
        self.stages.append(dict(record))
        self._write()
        shutil.rmtree(self.checkpoints(len(self.stages)), ignore_errors=True)

    def model(self, stage: int) -> Path:
        """The model folder of a stage."""
        return self.path / f"stage-{stage}"

    def negatives(self, stage: int) -> Path:
        """The file with the hard negatives that a stage trains with."""
        return self.path / f"negatives-{stage}.json"

    def rescued(self, stage: int) -> Path:
        """The model folder of the latest checkpoint of a stage that came to no end."""
        return self.path / f"stage-{stage}-unfinished"

    def checkpoints(self, stage: int) -> Path:
        """The folder for the checkpoints of a stage."""
        return self.path / f"checkpoints-{stage}"

    def size(self) -> int:
        """Bytes of all that is in it."""
        return sum(file.stat().st_size for file in self.path.rglob("*") if file.is_file())

    def discard_if_empty(self) -> None:
        """Remove the folder where there is nothing in it to go on from."""
        if {file.name for file in self.path.rglob("*") if file.is_file()} <= {_RUN_FILE, _LOCK_FILE}:
            self.remove()

    def close(self) -> None:
        """Let go of the folder; another process may go on with it."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def remove(self) -> None:
        """Remove the folder with all that is in it; half of it is never taken for a run."""
        self.close()
        if self.path.is_dir():
            gone = self.path.with_name(f".{self.path.name}.{os.getpid()}.gone")
            os.rename(self.path, gone)
            shutil.rmtree(gone, ignore_errors=True)

    def _sweep(self) -> None:
        """Remove what a killed process was about to write or to delete."""
        left = [*self.path.rglob("*.part"), *self.path.parent.glob(f".{self.path.name}.*.gone")]
        for entry in left:
            if entry.is_dir():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)

    def _write(self) -> None:
        with disk_errors(self.path):
            write_json(self.path / _RUN_FILE, {"identity": self._identity, "stages": self.stages})


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> Sequence[str]:
    """The keys, with dots between, under which two nested records differ."""
    names = []
    for key in {*one, *other}:
        mine, yours = one.get(key), other.get(key)
        if isinstance(mine, dict) and isinstance(yours, dict):
            names += [f"{key}.{name}" for name in differences(mine, yours)]
        elif mine != yours:
            names.append(key)
    return names


def _is_foreign(entry: Path) -> bool:
    return entry.name != _LOCK_FILE and entry.suffix != ".part"


def _locked(file: Path) -> int | None:
    """Hold a lock on a file as long as this process lives; None where the system has no such locks."""
    if sys.platform == "win32":
        return None
    import fcntl

    lock = os.open(file, os.O_CREAT | os.O_RDWR, 0o666)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise TrainingError(f"{file.parent} is in use: another process trains there; wait for it or stop it") from None
    except OSError:
        # A file system without locks, some network ones.
        os.close(lock)
        return None
    return lock
