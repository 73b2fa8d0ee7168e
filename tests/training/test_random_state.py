from __future__ import annotations

from pathlib import Path

import torch
from small_training import train_small

from modelscope_plugin.training.random_state import fork_random_state, get_random_state, set_random_state

CPU = torch.device("cpu")


def test_restored_state_gives_the_same_numbers() -> None:
    state = get_random_state(CPU)
    first = torch.rand(5)
    set_random_state(state, CPU)
    assert torch.equal(torch.rand(5), first)


def test_fork_starts_at_a_state_and_leaves_no_trace() -> None:
    state = get_random_state(CPU)
    first = torch.rand(5)
    after = torch.random.get_rng_state()
    with fork_random_state(CPU, state):
        assert torch.equal(torch.rand(5), first)
    assert torch.equal(torch.random.get_rng_state(), after)


def test_training_leaves_the_random_numbers_of_its_caller_alone(base_folder: Path, tmp_path: Path) -> None:
    before = torch.random.get_rng_state()
    train_small(base_folder, tmp_path / "out", max_epochs=1)
    assert torch.equal(torch.random.get_rng_state(), before)
