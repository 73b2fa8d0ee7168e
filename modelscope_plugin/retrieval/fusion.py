"""How a dense list and lists of names become one ranking."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from modelscope_plugin.errors import InputError

METHODS = ("reciprocal_rank", "weighted_sum")


@dataclass(frozen=True)
class Fusion:
    """How three lists are fused: dense, names of the knowledge base, names learnt from labelled mentions.

    ``reciprocal_rank`` (Cormack et al. 2009) adds ``weight / (rank_constant + rank)`` over the lists; what is not in a
    list gets nothing from it. ``weighted_sum`` adds ``weight * score``: the dot product and the two likenesses (0 to
    1). The defaults are those that lost nothing at any k on training mentions held out: with them a list of names alone
    never displaces the first of the dense list.

    Attributes:
        method: ``reciprocal_rank`` or ``weighted_sum``.
        dense: Weight of the dense list.
        names: Weight of the names of the knowledge base.
        learned: Weight of the names learnt.
        rank_constant: Constant of the reciprocal ranks; small trusts the first ranks more.

    Raises:
        InputError: If the method is unknown, a weight not finite or the constant negative.
    """

    method: str = "reciprocal_rank"
    dense: float = 1.0
    names: float = 0.1
    learned: float = 0.5
    rank_constant: float = 1.0

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise InputError(f"unknown fusion method {self.method!r}; choose from {', '.join(METHODS)}")
        if not np.isfinite([self.dense, self.names, self.learned]).all() or not 0 <= self.rank_constant < np.inf:
            raise InputError(f"{self}: weights must be finite and the rank constant not negative")

    def fuse(
        self, scores: tuple[npt.NDArray[Any], ...], ranks: tuple[npt.NDArray[np.int64], ...]
    ) -> npt.NDArray[np.float64]:
        """Score candidates.

        Args:
            scores: Dot products and the two likenesses of the candidates, (n,) each.
            ranks: Their ranks in the three lists from 1, (n,) each; 0 for those that are not in the list.

        Returns:
            The fused scores, float64 (n,).
        """
        weights = (self.dense, self.names, self.learned)
        total = np.zeros(len(scores[0]))
        for weight, score, rank in zip(weights, scores, ranks, strict=True):
            if self.method == "weighted_sum":
                total += weight * score
            else:
                total += np.where(rank > 0, weight / (self.rank_constant + np.maximum(rank, 1)), 0.0)
        return total
