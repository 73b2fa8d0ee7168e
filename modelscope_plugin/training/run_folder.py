"""What a training run has on disk until it has ended: enough to resume it after it was killed."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from modelscope_plugin.config.records import read_record
from modelscope_plugin.errors import InputError, TrainingError
from modelscope_plugin.storage.atomic_write import write_json
from modelscope_plugin.storage.locks import acquire_lock
from modelscope_plugin.training.record import StageResult
from modelscope_plugin.training.run_files import LOCK_FILE, REMOVED_FILE, RUN_FILE, RunFiles
from modelscope_plugin.training.training_state import disk_errors

logger = logging.getLogger(__name__)

# Version of the files in a run folder.
_FORMAT = 2
# Copies of the weights that a run has on disk at once, beside the models of stages: two checkpoints with both moments
# of AdamW and the best weights.
_COPIES = 7


def run_folder_of(output: Path) -> Path:
    """The run folder of a model folder: ``NAME.training`` beside it."""
    output = output.resolve()
    return output.with_name(f"{output.name}.training")


@dataclass(frozen=True)
class _RunRecord:
    """What run.json holds: its format, all that decides the result, and the stages that are finished."""

    identity: dict[str, Any]
    stages: list[Any]
    format: int = 1


class RunFolder:
    """The folder beside the model folder to be: finished stages, mined negatives, the latest checkpoint.

    Args:
        output: The model folder to be written.

    Attributes:
        path: The run folder.
        files: The files in it.
        stages: The stages that are finished.
    """

    def __init__(self, output: Path) -> None:
        self.path = run_folder_of(output)
        self.files = RunFiles(self.path)
        self.stages: list[StageResult] = []
        self._identity: dict[str, Any] = {}
        self._lock: FileLock | None = None

    @property
    def is_started(self) -> bool:
        """Whether an earlier run is there."""
        return (self.path / RUN_FILE).exists()

    @property
    def is_open(self) -> bool:
        """Whether this run has begun to use the folder."""
        return bool(self._identity)

    def check(self, resume: bool) -> None:
        """Lock the folder, where there is one; refuse one that is not ours or holds a run not to be resumed."""
        if (self.path / REMOVED_FILE).exists():
            self._acquire_lock()
            self.remove()
        if not self.path.exists():
            return
        foreign = None if self.is_started else self.files.find_foreign()
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

    def open(self, identity: Mapping[str, Any]) -> list[StageResult]:
        """Start a run, or resume the one that is there, and return the stages that are finished.

        Args:
            identity: All that decides the result: settings, checksums of the data, the base model.

        Raises:
            TrainingError: If the earlier run was another one, or the folder cannot be written.
        """
        current = json.loads(json.dumps(identity))
        with disk_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        self._acquire_lock()
        self.files.remove_drafts()
        if self.is_started:
            self.stages = self._read_stages(current)
            self._identity = current
        else:
            self._identity = current
            self._write()
        return self.stages

    def check_space(self, weights_size: int, stages: int) -> None:
        """Raise `TrainingError` where the disk has no room for a run of ``stages`` and weights of so many bytes."""
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

    def finish_stage(self, result: StageResult) -> None:
        """Note that a stage is finished, and remove its checkpoints."""
        self.stages.append(result)
        self._write()
        self.files.remove_checkpoints(len(self.stages))

    def discard_if_empty(self) -> None:
        """Remove the folder where there is nothing in it to resume."""
        if not self.files.has_content():
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
        self.files.remove_run()
        self.close()
        (self.path / LOCK_FILE).unlink(missing_ok=True)
        foreign = self.files.find_foreign()
        if foreign is None:
            self.path.rmdir()
        else:
            logger.warning("%s is left, for it holds something else (%s)", self.path, foreign)

    def _read_stages(self, identity: dict[str, Any]) -> list[StageResult]:
        """Read the finished stages of the run that is there, which must have the same identity."""
        file = self.path / RUN_FILE
        try:
            run = read_record(_RunRecord, file)
            found = enumerate(run.stages if run.format == _FORMAT else ())
            stages = [StageResult.from_record(stage, f"stages[{number}]") for number, stage in found]
        except (OSError, InputError) as error:
            raise TrainingError(f"{file} is damaged ({error}); delete {self.path} and train anew") from None
        if run.format != _FORMAT:
            raise TrainingError(
                f"{self.path} holds a training of another version of this package; finish it with that version, or "
                "delete the folder to start anew"
            )
        different = sorted(find_differences(run.identity, identity))
        if different:
            raise TrainingError(
                f"{self.path} holds a training with other {', '.join(different)}; repeat the call as it was, or delete "
                "the folder to start anew"
            )
        missing = [model for stage in stages if not (model := self.files.model(stage.stage)).is_dir()]
        if missing:
            raise TrainingError(f"{missing[0]} is missing; delete {self.path} and train anew")
        return stages

    def _write(self) -> None:
        with disk_errors(self.path):
            stages = [asdict(stage) for stage in self.stages]
            write_json(self.path / RUN_FILE, {"format": _FORMAT, "identity": self._identity, "stages": stages})

    def _acquire_lock(self) -> None:
        """Lock the folder as long as this process lives; on a file system without locks do nothing."""
        if self._lock is not None:
            return
        try:
            self._lock = acquire_lock(self.path / LOCK_FILE)
        except Timeout:
            raise TrainingError(
                f"{self.path} is in use: another process trains there; wait for it or stop it"
            ) from None
        except PermissionError as error:
            raise TrainingError(f"{self.path} cannot be locked ({error}); train as the user it belongs to") from error


def find_differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """The keys, with dots between, under which two nested records differ."""
    names = []
    for key in {*one, *other}:
        mine, yours = one.get(key), other.get(key)
        if isinstance(mine, dict) and isinstance(yours, dict):
            names += [f"{key}.{name}" for name in find_differences(mine, yours)]
        elif mine != yours:
            names.append(key)
    return names
