"""The results of a training run, and training.json, which records them in the model folder."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from modelscope_plugin.checks import check_integer, check_number
from modelscope_plugin.config.configuration import read_configuration_file
from modelscope_plugin.config.records import make_record
from modelscope_plugin.errors import InputError, MissingFileError, ModelFolderError, TrainingError
from modelscope_plugin.storage.atomic_write import write_json
from modelscope_plugin.storage.digests import digest_of
from modelscope_plugin.storage.inventory import list_files

RECORD_FILE = "training.json"
"""File of the model folder that records how it was trained."""

# It is part of the name of a folder.
_MOST_STAGES = 1_000_000


@dataclass(frozen=True)
class StageResult:
    """The result of one stage.

    Attributes:
        stage: Which stage, from 1.
        losses: Mean loss of every epoch that was trained.
        collapsed: Whether the last loss was still that of guessing; false where no mention had a negative.
        steps: Steps of the optimiser.
        best_step: The step whose weights were kept, where recall was measured during training; else the last.
        seconds: Time of training, without mining and evaluation afterwards.
        mining: The figures of mining before it.
        evaluation: Recall over the whole knowledge base, where evaluation mentions were given.
    """

    stage: int
    losses: list[float]
    collapsed: bool
    steps: int
    best_step: int
    seconds: float
    mining: dict[str, Any] | None
    evaluation: dict[str, Any] | None

    @classmethod
    def from_record(cls, record: Any, name: str = "") -> StageResult:
        """Read the JSON object of a stage; InputError, which calls it ``name``, if a field cannot be used."""
        stage = make_record(cls, record, name)
        check_integer(f"{name}.stage", stage.stage, least=1, most=_MOST_STAGES)
        for key, value in (stage.evaluation or {}).items():
            if key.startswith("recall@"):
                if not re.fullmatch(r"recall@[1-9][0-9]{0,8}", key):
                    raise InputError(f"{name}.evaluation has an unknown field {key[:60]!r}")
                check_number(f"{name}.evaluation.{key}", value, least=0, most=1)
        return stage

    @property
    def recall(self) -> dict[int, float]:
        """Recall by k; empty where it was not measured."""
        return recall_of(self.evaluation or {})

    @property
    def mean_recall(self) -> float:
        """The mean of recall over all k, by which stages are compared; 0 where it was not measured."""
        return sum(self.recall.values()) / max(1, len(self.recall))


@dataclass(frozen=True)
class TrainingResult:
    """The result of a training run.

    Attributes:
        folder: The model folder.
        stages: All stages.
        best: The stage whose model was kept: the best by mean dev recall, without evaluation the last.
        is_main: Whether this process is the one that reports, where several train together.
    """

    folder: Path
    stages: list[StageResult]
    best: StageResult
    is_main: bool = True

    def to_record(self) -> dict[str, Any]:
        """The result as a JSON object."""
        return {
            "model": str(self.folder),
            "stage": self.best.stage,
            "losses": self.best.losses,
            "collapsed": self.best.collapsed,
            "evaluation": self.best.evaluation,
            "stages": [asdict(stage) for stage in self.stages],
        }


def recall_of(figures: Mapping[str, Any]) -> dict[int, float]:
    """The recall by k among the figures of an evaluation."""
    return {int(name.removeprefix("recall@")): value for name, value in figures.items() if name.startswith("recall@")}


def write_record(folder: Path, identity: Mapping[str, Any], base_model: str, result: TrainingResult) -> None:
    """Write the record of a run into a model folder that is otherwise complete.

    Args:
        folder: The model folder, before it is renamed to its path.
        identity: All that decided the weights of the run.
        base_model: The checkpoint it started from: a hub id, or its path.
        result: The result of the run.
    """
    record = {**identity, "base_model": base_model, "run": _digest(identity), **result.to_record()}
    del record["model"]
    write_json(folder / RECORD_FILE, {**record, "files": sorted(path.name for path in folder.iterdir())})


def read_finished_stages(folder: Path, identity: Mapping[str, Any]) -> tuple[list[StageResult], StageResult] | None:
    """Read the stages of the run that wrote a model folder, and the one it holds; None if it was another run.

    Raises:
        TrainingError: If it is the run, and its record is damaged.
    """
    file = folder / RECORD_FILE
    try:
        record = read_configuration_file(file)
    except (MissingFileError, ModelFolderError):
        return None
    if record.get("run") != _digest(identity):
        return None
    try:
        if not isinstance(record.get("stages"), list):
            raise InputError("stages must be a list")
        stages = [StageResult.from_record(stage, f"stages[{number}]") for number, stage in enumerate(record["stages"])]
        best = next((stage for stage in stages if stage.stage == record.get("stage")), None)
        if best is None:
            raise InputError(f"stage must be one of stages, not {record.get('stage')!r}")
    except InputError as error:
        raise TrainingError(f"{file}: {error}; delete {folder} and train anew") from None
    return stages, best


def check_replaceable(folder: Path) -> None:
    """Refuse to replace a model that was trained earlier.

    Raises:
        InputError: If there is one; it says when it was trained, from what, its recall, and what would go.
    """
    file = folder / RECORD_FILE
    if not file.is_file():
        return
    try:
        record = read_configuration_file(file)
    except ModelFolderError:
        record = {}
    trained = f"trained on {datetime.fromtimestamp(file.stat().st_mtime):%Y-%m-%d %H:%M}"
    base, figures = record.get("base_model"), record.get("evaluation")
    if isinstance(base, str):
        trained += f" from {base}"
    recall = figures.items() if isinstance(figures, dict) else ()
    shown = [f"{name} {value:.3f}" for name, value in recall if "recall@" in name and isinstance(value, float)]
    count = len(list_files(folder))
    raise InputError(
        f"{folder} holds a model, {trained}, {', '.join(shown[:3]) or 'recall not measured'}; its {count} files would "
        "be lost; name another folder, or replace it (overwrite=True, --overwrite)"
    )


def _digest(identity: Mapping[str, Any]) -> str:
    return digest_of(json.dumps(identity, sort_keys=True))
