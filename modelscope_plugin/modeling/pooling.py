"""Poolers from token states to one vector, as ModelScope's built-in sentence-embedding model defines them."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast, get_args

import torch

from modelscope_plugin.checks import check_choice
from modelscope_plugin.types import PoolerType

_Pooler = Callable[[tuple[torch.Tensor, ...], torch.Tensor], torch.Tensor]


def _mean(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    weights = mask.unsqueeze(-1).to(states.dtype)
    return (states * weights).sum(1) / weights.sum(1).clamp(min=1)


_POOLERS: dict[PoolerType, _Pooler] = {
    "cls": lambda states, mask: states[-1][:, 0],
    "avg": lambda states, mask: _mean(states[-1], mask),
    "avg_top2": lambda states, mask: _mean((states[-1] + states[-2]) / 2, mask),
    "avg_first_last": lambda states, mask: _mean((states[1] + states[-1]) / 2, mask),
}

POOLER_TYPES: tuple[PoolerType, ...] = get_args(PoolerType)
"""The values that ``emb_pooler_type`` can take."""


def check_pooler_type(pooler_type: str) -> PoolerType:
    """Return ``pooler_type`` if it is one of `POOLER_TYPES`; raise InputError otherwise."""
    return cast("PoolerType", check_choice("emb_pooler_type", pooler_type, POOLER_TYPES))


def needs_all_states(pooler_type: PoolerType) -> bool:
    """True if the pooler needs the states of other layers than the last one."""
    return pooler_type in ("avg_top2", "avg_first_last")


def pool(states: tuple[torch.Tensor, ...], mask: torch.Tensor, pooler_type: PoolerType) -> torch.Tensor:
    """Pool token states.

    Args:
        states: Hidden states of all layers, embeddings first, or the last layer's alone where
            `needs_all_states` is false; each (n, length, dim).
        mask: Attention mask (n, length), 1 for tokens and 0 for padding.
        pooler_type: One of `POOLER_TYPES`.

    Returns:
        Vectors (n, dim).
    """
    return _POOLERS[pooler_type](states, mask)
