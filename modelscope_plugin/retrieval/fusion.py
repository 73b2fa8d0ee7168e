"""How a dense list and lists of names become one ranking."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from modelscope_plugin.errors import InputError

METHODS = ("reciprocal_rank", "weighted_sum")
# Likeness of a name that is the mention, but for rounding.
_SAME = 1 - 1e-4


@dataclass(frozen=True)
class Fusion:
    """How three lists are fused: dense, names of the knowledge base, names learnt from labelled mentions.

    ``reciprocal_rank`` (Cormack et al. 2009) adds ``weight / (rank_constant + rank)`` over the lists; what is not in a
    list gets nothing from it. A name counts with the root of its likeness besides, because the first of a list of names
    can be quite unlike the mention, and a name learnt counts only where it is liker than the names of the knowledge
    base, because entities that training has seen have more names to be like a mention with than those it has not.
    ``weighted_sum`` adds ``weight * score``: the dot product and the two likenesses (0 to 1).

    Attributes:
        method: ``reciprocal_rank`` or ``weighted_sum``.
        dense: Weight of the dense list, not negative.
        names: Weight of the names of the knowledge base, not negative.
        learned: Weight of the names learnt, not negative.
        rank_constant: Constant of the reciprocal ranks; small trusts the first ranks more.
        orders_namesakes: Whether the fused lists order the entities that bear the mention as a name; otherwise their
            ids do, as in ``lexical`` retrieval.

    Raises:
        InputError: If the method is unknown, a weight not finite or negative, or the constant negative.
    """

    method: str = "reciprocal_rank"
    dense: float = 1.0
    names: float = 0.4
    learned: float = 0.5
    rank_constant: float = 1.0
    orders_namesakes: bool = True

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise InputError(f"unknown fusion method {self.method!r}; choose from {', '.join(METHODS)}")
        numbers = (self.dense, self.names, self.learned, self.rank_constant)
        if not all(0 <= number < np.inf for number in numbers):
            raise InputError(f"{self}: weights and rank constant must be finite and not negative")
        if not isinstance(self.orders_namesakes, bool):
            raise InputError(f"{self}: orders_namesakes must be true or false")

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
        if self.method == "weighted_sum":
            for weight, score in zip(weights, scores, strict=True):
                total += weight * score
            return total
        _, names, learned = scores
        # Of equal names only those count that the mention cannot be liker to.
        shares = (1.0, np.sqrt(names), learned > np.minimum(names, _SAME))
        for weight, share, rank in zip(weights, shares, ranks, strict=True):
            total += np.where(rank > 0, weight * share / (self.rank_constant + np.maximum(rank, 1)), 0.0)
        return total
