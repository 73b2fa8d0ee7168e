"""What the loop of a stage, the stage and the run ask of the model that is trained.

The dual encoder (`modelscope_plugin.training.dual_encoder_job`) and the re-rankers
(`modelscope_plugin.training.reranking`) offer it; loop, checkpoints, resuming and records are the same for all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch

from modelscope_plugin.evaluation.evaluate import Evaluation
from modelscope_plugin.training.run_folder import RunFolder

B = TypeVar("B")


class OptimizerSettings(Protocol):
    """How weights are changed; see `TrainingSettings` for what each setting does."""

    @property
    def weight_decay(self) -> float: ...  # noqa: D102

    @property
    def lr_scheduler_type(self) -> str: ...  # noqa: D102

    @property
    def warmup_ratio(self) -> float: ...  # noqa: D102

    @property
    def mixed_precision(self) -> str: ...  # noqa: D102

    @property
    def max_grad_norm(self) -> float: ...  # noqa: D102

    def learning_rate_of(self, stage: int) -> float:
        """The peak learning rate of a stage."""
        ...


class LoopSettings(OptimizerSettings, Protocol):
    """How often a stage steps, saves and measures; see `TrainingSettings` for what each setting does."""

    @property
    def seed(self) -> int: ...  # noqa: D102

    @property
    def gradient_accumulation_steps(self) -> int: ...  # noqa: D102

    @property
    def eval_steps(self) -> int: ...  # noqa: D102

    @property
    def save_steps(self) -> int: ...  # noqa: D102

    @property
    def early_stopping_patience(self) -> int: ...  # noqa: D102

    def epochs_of(self, stage: int) -> int:
        """The epochs of a stage."""
        ...


class Objective(Protocol[B]):
    """The batches of a stage and the loss that its steps lower."""

    @property
    def model(self) -> torch.nn.Module:
        """The model, on the device of this process."""
        ...

    def __len__(self) -> int:
        """How many batches an epoch has."""
        ...

    def epoch(self, number: int, start: int) -> Iterator[B]:
        """Make the batches of an epoch from 0, without the first ``start``; the same in every process and call."""
        ...

    def backward(self, batch: B, scale: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        """Add the gradient of this process's share of a batch, scaled; the loss of the whole batch without a graph."""
        ...

    def guessing_loss(self, batch: B) -> float:
        """The loss of a model that knows nothing."""
        ...


class StageModel(Protocol):
    """The model that a stage trains in place: how it is trained, saved and measured."""

    @property
    def settings(self) -> LoopSettings:
        """How to train."""
        ...

    @property
    def objective(self) -> Objective[Any]:
        """What its steps lower."""
        ...

    def write_folder(self, folder: Path) -> None:
        """Write the model folder."""
        ...

    def evaluate_sample(self) -> Evaluation:
        """Measure recall while the model is trained."""
        ...

    def evaluate_folder(self, folder: Path, step: int) -> Evaluation | None:
        """Measure recall once the model is trained and written to ``folder``; None without evaluation mentions."""
        ...


class TrainingJob(Protocol):
    """What a run trains, and on what."""

    @property
    def stages(self) -> int:
        """How many stages it has."""
        ...

    def prepare(self) -> dict[str, Any]:
        """Load the base and read the data; all that decides the weights, as a JSON object."""
        ...

    @property
    def weights_size(self) -> int:
        """Bytes of the weights."""
        ...

    def train_stages(self, folder: RunFolder) -> None:
        """Train the stages that the run folder lacks, each from the model of the one before."""
        ...
