"""The losses of a re-ranker, over the list of candidates of each mention."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch.nn import functional


def listwise_loss(scores: torch.Tensor) -> torch.Tensor:
    """Softmax over the candidates of each mention (Cao et al. 2007, with one gold entity; so BLINK's second step).

    Args:
        scores: Scores (n, candidates), the gold entity in column 0, -inf for padding.

    Returns:
        The loss of each mention (n,), in float32.
    """
    golds = torch.zeros(len(scores), dtype=torch.int64, device=scores.device)
    return functional.cross_entropy(scores.float(), golds, reduction="none")


def binary_loss(scores: torch.Tensor) -> torch.Tensor:
    """Logistic loss of each candidate: that of the gold entity and the mean of the others weigh the same.

    Args:
        scores: As for `listwise_loss`; above 0 for right.

    Returns:
        The loss of each mention (n,), in float32.
    """
    scores = scores.float()
    negatives = functional.softplus(scores[:, 1:])  # 0 for padding
    counts = torch.isfinite(scores[:, 1:]).sum(1).clamp(min=1)
    return functional.softplus(-scores[:, 0]) + negatives.sum(1) / counts


LOSSES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {"listwise": listwise_loss, "binary": binary_loss}


def guessing_loss(loss: str, sizes: Sequence[int]) -> float:
    """The mean loss of a model that scores all candidates alike, for lists of so many candidates."""
    if loss == "binary":
        return 2 * math.log(2)
    return sum(map(math.log, sizes)) / len(sizes)
