"""What a training run has on disk until it has ended: enough to go on after it was killed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modelscope_plugin.errors import InputError, TrainingError
from modelscope_plugin.files import write_json

_RUN_FILE = "run.json"


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

    def check(self, resume: bool) -> None:
        """Raise `InputError` where an interrupted run is there and is not to be gone on with."""
        if (self.path / _RUN_FILE).exists() and not resume:
            raise InputError(
                f"{self.path} holds an interrupted training; go on with it (resume=True, --resume), or delete it"
            )

    def open(self, identity: Mapping[str, Any]) -> None:
        """Start, or go on where an earlier run has stopped.

        Args:
            identity: All that decides the result: settings, checksums of the data, the base model.

        Raises:
            TrainingError: If the earlier run was another one.
        """
        self._identity = json.loads(json.dumps(identity))
        file = self.path / _RUN_FILE
        if not file.exists():
            self._write()
            return
        try:
            run = json.loads(file.read_text(encoding="utf-8"))
            earlier, self.stages = run["identity"], run["stages"]
        except (ValueError, KeyError, TypeError):
            raise TrainingError(f"{file} is damaged; delete {self.path} and train anew") from None
        different = sorted(_differences(earlier, self._identity))
        if different:
            raise TrainingError(
                f"{self.path} holds a training with other {', '.join(different)}; repeat the call as it was, or delete "
                "the folder to start anew"
            )

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
        return self.path / f"negatives-{stage}.jsonl"

    def checkpoints(self, stage: int) -> Path:
        """The folder for the checkpoints of a stage."""
        return self.path / f"checkpoints-{stage}"

    def discard_if_empty(self) -> None:
        """Remove the folder where there is nothing in it to go on from."""
        if self.path.is_dir() and {entry.name for entry in self.path.iterdir()} <= {_RUN_FILE}:
            self.remove()

    def remove(self) -> None:
        """Remove the folder with all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)

    def _write(self) -> None:
        write_json(self.path / _RUN_FILE, {"identity": self._identity, "stages": self.stages})


def _differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    names = []
    for key in {*one, *other}:
        mine, yours = one.get(key), other.get(key)
        if isinstance(mine, dict) and isinstance(yours, dict):
            names += [f"{key}.{name}" for name in _differences(mine, yours)]
        elif mine != yours:
            names.append(key)
    return names
