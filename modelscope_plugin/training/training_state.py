"""The state of a training stage on disk, from which it goes on as if it had never stopped."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_model, save_model

from modelscope_plugin.errors import TrainingError
from modelscope_plugin.storage.files import replace_file, replace_folder, write_json

_WEIGHTS, _STATE, _PROGRESS = "model.safetensors", "state.pt", "progress.json"


@dataclass
class Progress:
    """How far a stage has come.

    Attributes:
        step: Steps of the optimiser done.
        losses: Mean loss of every epoch that has ended.
        epoch_losses: Losses of the steps of the epoch under way.
        guessing: What the losses of the last epoch's batches would be for a model that knows nothing.
        best: Best mean recall so far, where it is measured on the way.
        best_step: The step it was measured at.
        measured: Measurements since then.
        seconds: Time spent.
    """

    step: int = 0
    losses: list[float] = field(default_factory=list)
    epoch_losses: list[float] = field(default_factory=list)
    guessing: list[float] = field(default_factory=list)
    best: float | None = None
    best_step: int = 0
    measured: int = 0
    seconds: float = 0.0


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
    """Write a checkpoint, in the place of an earlier one once it is complete.

    Args:
        folder: The folder to write.
        model: The model.
        state: State of optimiser, schedule and random numbers: tensors and plain values only.
        progress: How far the stage has come.

    Raises:
        TrainingError: If the disk is full; the earlier checkpoint is still there then.
    """
    with disk_errors(folder), replace_folder(folder) as draft:
        save_model(model, str(draft / _WEIGHTS))
        try:
            torch.save(state, draft / _STATE)
        except RuntimeError as error:
            raise OSError(str(error)) from error
        write_json(draft / _PROGRESS, asdict(progress))


def load_checkpoint(folder: Path, model: torch.nn.Module) -> tuple[dict[str, Any], Progress]:
    """Read a checkpoint: the weights into ``model``, the rest as it was given.

    Args:
        folder: A folder that `save_checkpoint` wrote.
        model: A model of the same shape.

    Returns:
        State and progress.

    Raises:
        TrainingError: If the checkpoint is damaged or of a model of another shape.
    """
    load_weights(model, folder / _WEIGHTS)
    try:
        state = torch.load(folder / _STATE, map_location="cpu", weights_only=True)
        return state, Progress(**json.loads((folder / _PROGRESS).read_text(encoding="utf-8")))
    except Exception as error:
        raise TrainingError(f"the checkpoint {folder} is damaged ({error}); delete it and train anew") from error


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn what the libraries say of a full disk into an error with a remedy."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise TrainingError(
            f"{path} cannot be written ({(str(error).splitlines() or ['?'])[0]}); make room on the disk and go on with "
            "resume (--resume), what was saved before is still there"
        ) from error
