"""The state of a training stage on disk, from which it is resumed to the same weights."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_model, save_model

from modelscope_plugin.config.records import read_record
from modelscope_plugin.errors import TrainingError
from modelscope_plugin.storage.atomic_write import replace_file, replace_folder, write_json

CHECKPOINT_FOLDER, BEST_WEIGHTS_FILE = "checkpoint", "best.safetensors"
"""What a stage keeps in its folder of checkpoints: the latest checkpoint, and the weights of the highest recall."""

_WEIGHTS, _STATE, _PROGRESS = "model.safetensors", "state.pt", "progress.json"


@dataclass
class Progress:
    """How far a stage has come.

    Attributes:
        step: Steps of the optimiser done.
        losses: Mean loss of every epoch that has ended.
        step_losses: Losses of the steps of the current epoch.
        guessing_losses: What the losses of the last epoch's batches would be for a model that knows nothing.
        best_recall: Highest mean recall so far, where it is measured during training.
        best_step: The step it was measured at.
        evaluations_since_best: Evaluations after that step.
        seconds: Time spent.
    """

    step: int = 0
    losses: list[float] = field(default_factory=list)
    step_losses: list[float] = field(default_factory=list)
    guessing_losses: list[float] = field(default_factory=list)
    best_recall: float | None = None
    best_step: int = 0
    evaluations_since_best: int = 0
    seconds: float = 0.0

    @property
    def guessing_loss(self) -> float:
        """The last epoch's loss for a model that knows nothing; 0 where no mention had a negative."""
        return sum(self.guessing_losses) / max(1, len(self.guessing_losses))

    @property
    def has_collapsed(self) -> bool:
        """Whether the loss of the last epoch is still that of guessing; without negatives there is nothing to guess."""
        return self.guessing_loss > 0 and self.losses[-1] >= 0.95 * self.guessing_loss

    def end_epoch(self) -> None:
        """Note the mean loss of an epoch that is over, or was stopped early."""
        if self.step_losses:
            self.losses.append(sum(self.step_losses) / len(self.step_losses))
            self.step_losses = []


def save_weights(model: torch.nn.Module, file: Path) -> None:
    """Write the weights of a model, shared ones once."""
    with disk_errors(file), replace_file(file) as draft:
        save_model(model, str(draft))


def load_weights(model: torch.nn.Module, file: Path) -> None:
    """Read what `save_weights` wrote into a model of the same shape."""
    try:
        load_model(model, str(file))
    except (RuntimeError, OSError, SafetensorError) as error:
        reason = " ".join(line.strip() for line in str(error).splitlines()[:2])
        raise TrainingError(f"{file} does not fit the model ({reason}); delete {file.parent} and train anew") from error


def save_checkpoint(folder: Path, model: torch.nn.Module, state: dict[str, Any], progress: Progress) -> None:
    """Write a checkpoint; it replaces the earlier one once it is complete, and not if the disk is full.

    The state of optimiser, schedule and random numbers may hold tensors and plain values only.
    """
    with disk_errors(folder), replace_folder(folder) as draft:
        save_model(model, str(draft / _WEIGHTS))
        try:
            torch.save(state, draft / _STATE)
        except RuntimeError as error:
            raise OSError(str(error)) from error
        write_json(draft / _PROGRESS, asdict(progress))


def load_checkpoint(folder: Path, model: torch.nn.Module) -> tuple[dict[str, Any], Progress]:
    """Read the weights of a checkpoint into ``model``, and return its state and progress.

    Raises:
        TrainingError: If the checkpoint is damaged or of a model of another shape.
    """
    load_weights(model, folder / _WEIGHTS)
    try:
        state = torch.load(folder / _STATE, map_location="cpu", weights_only=True)
        return state, read_record(Progress, folder / _PROGRESS)
    except Exception as error:
        raise TrainingError(f"the checkpoint {folder} is damaged ({error}); delete it and train anew") from error


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn the errors of the libraries on a full disk, or one that cannot be written, into one with a remedy."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        is_refused = isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS)
        remedy = "change its permissions" if is_refused else "make room on the disk"
        raise TrainingError(
            f"{path} cannot be written ({(str(error).splitlines() or ['?'])[0]}); {remedy} and resume (resume=True, "
            "--resume); what was saved before is still there"
        ) from error
