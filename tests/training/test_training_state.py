from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from modelscope_plugin.errors import TrainingError
from modelscope_plugin.training.training_state import Progress, load_checkpoint, save_checkpoint

STATE = {"optimizer": {"state": {0: {"step": torch.tensor(3.0)}}, "lr": 0.1}, "randomness": [torch.get_rng_state()]}
PROGRESS = Progress(
    step=3,
    losses=[1.5],
    step_losses=[1.0, 0.5],
    guessing_losses=[2.0],
    best_recall=0.25,
    best_step=2,
    evaluations_since_best=1,
)


def _model(size: int = 4) -> torch.nn.Module:
    torch.manual_seed(size)
    return torch.nn.Linear(size, size)


@contextmanager
def _no_room() -> Iterator[None]:
    """No file can grow beyond a few bytes, as on a full disk; only around the call, or pytest cannot write either."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_checkpoint_round_trip(tmp_path: Path) -> None:
    model, other = _model(), torch.nn.Linear(4, 4)
    save_checkpoint(tmp_path / "c", model, STATE, PROGRESS)
    state, progress = load_checkpoint(tmp_path / "c", other)
    assert progress == PROGRESS
    assert torch.equal(other.weight, model.weight)  # type: ignore[arg-type]
    assert state["optimizer"]["state"][0]["step"] == 3.0
    assert torch.equal(state["randomness"][0], STATE["randomness"][0])  # type: ignore[index]


def test_checkpoint_of_another_shape_is_said(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "c", _model(), STATE, PROGRESS)
    with pytest.raises(TrainingError, match=r"does not fit the model .* delete .* and train anew"):
        load_checkpoint(tmp_path / "c", _model(5))


@pytest.mark.parametrize("name", ["model.safetensors", "state.pt", "progress.json"])
def test_damaged_checkpoint_is_said(tmp_path: Path, name: str) -> None:
    save_checkpoint(tmp_path / "c", _model(), STATE, PROGRESS)
    (tmp_path / "c" / name).write_bytes(b"{")
    with pytest.raises(TrainingError, match="train anew"):
        load_checkpoint(tmp_path / "c", _model())


def test_full_disk_is_said_and_keeps_the_earlier_checkpoint(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "c", _model(), STATE, PROGRESS)
    message = r"cannot be written .* make room on the disk and resume"
    with pytest.raises(TrainingError, match=message), _no_room():
        save_checkpoint(tmp_path / "c", _model(), STATE, Progress(step=9))
    assert load_checkpoint(tmp_path / "c", _model())[1] == PROGRESS
    assert [entry.name for entry in tmp_path.iterdir()] == ["c"]
