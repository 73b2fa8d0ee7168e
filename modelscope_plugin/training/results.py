"""The results of training: losses and recall of every stage."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from modelscope_plugin.checks import check_number
from modelscope_plugin.config.records import make_record
from modelscope_plugin.errors import InputError


@dataclass(frozen=True)
class StageResult:
    """The result of one stage.

    Attributes:
        stage: Which stage, from 1.
        losses: Mean loss of every epoch that was trained.
        collapsed: Whether the last loss was still that of guessing.
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
        for key, value in (stage.evaluation or {}).items():
            if key.startswith("recall@"):
                if not re.fullmatch(r"recall@[1-9][0-9]{0,8}", key):
                    raise InputError(f"{name}.evaluation has an unknown field {key[:60]!r}")
                check_number(f"{name}.evaluation.{key}", value, least=0, most=1)
        return stage

    @property
    def recall(self) -> dict[int, float]:
        """Recall by k; empty where it was not measured."""
        figures = (self.evaluation or {}).items()
        return {int(name.removeprefix("recall@")): value for name, value in figures if name.startswith("recall@")}

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
