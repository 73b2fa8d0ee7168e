"""The state of torch's random numbers, on the CPU and on a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeAlias

import torch

RandomState: TypeAlias = list[torch.Tensor]
"""The state of the CPU's generator and, where a GPU computes, that of the GPU's."""


def get_random_state(device: torch.device) -> RandomState:
    """Read the state of the generators that a model on ``device`` draws from."""
    states = [torch.get_rng_state()]
    return [*states, torch.cuda.get_rng_state(device)] if device.type == "cuda" else states


def set_random_state(state: RandomState, device: torch.device) -> None:
    """Restore what `get_random_state` read."""
    torch.set_rng_state(state[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(state[1], device)


@contextmanager
def fork_random_state(device: torch.device, state: RandomState | None = None) -> Iterator[None]:
    """Draw random numbers in a scope without a trace of it afterwards.

    Args:
        device: The device of the model.
        state: Where the numbers of the scope start; None for the current state.
    """
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        if state is not None:
            set_random_state(state, device)
        yield
