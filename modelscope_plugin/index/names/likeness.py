"""How much the names of an index are like one mention."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from modelscope_plugin.index.names.bm25 import Floats, NameScores

if TYPE_CHECKING:
    from modelscope_plugin.index.names.alias_index import AliasIndex

Rows: TypeAlias = npt.NDArray[np.int64]


class Likeness:
    """How much the names of an index are like one mention; see `NameScores`.

    Attributes:
        rows: The likest rows, the best first, equal ones in the order of their ids; int64.
        shares: Their likeness, float32.
    """

    def __init__(
        self, index: AliasIndex, scores: NameScores, namesakes: npt.NDArray[np.int32], rows: Rows, shares: Floats
    ) -> None:
        self._index = index
        self._scores = scores
        self._namesakes = namesakes
        self.rows = rows
        self.shares = shares

    def of(self, rows: Rows) -> Floats:
        """The likeness of the likest name of each of some rows, float32 (rows,)."""
        places, counts = self._index.names_of(self._index.ranks(rows))
        best = np.zeros(len(rows), np.float32)
        np.maximum.at(best, np.repeat(np.arange(len(rows)), counts), self._scores.of(places))
        return best

    def exact(self, rows: Rows) -> npt.NDArray[np.bool_]:
        """Whether each of some rows bears the mention, whole, as a name, bool (rows,)."""
        ranks = self._index.ranks(rows).astype(np.int32)
        if not len(self._namesakes):
            return np.zeros(len(rows), np.bool_)
        places = np.searchsorted(self._namesakes, ranks)
        same: npt.NDArray[np.bool_] = self._namesakes[np.minimum(places, len(self._namesakes) - 1)] == ranks
        return same
