"""How much names are like a text, by the characters and pairs of characters that both have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from modelscope_plugin.retrieval.lexical.grams import GramPostings, gram_keys, is_pair

Floats: TypeAlias = npt.NDArray[np.float32]
Positions: TypeAlias = npt.NDArray[np.integer]

# How much of the text is in the name says more than how much of the name is in the text: a mention is often a part of a
# name. Measured by benchmarks/lexical.py.
_TEXT_SHARE, _NAME_SHARE = 2 / 3, np.float32(1 / 3)
# A character is in two 2-grams: with half weights, single characters and pairs count alike.
_PAIR_WEIGHT = 0.5
# Postings of a text whose names are looked at to estimate where the best begin.
_SAMPLE = 4096
_BELOW_ONE = np.nextafter(np.float32(1), np.float32(0))
# Stands for a weight of 0, which a name of a crafted file can have: what it shares is 0 as well.
_TINY = np.finfo(np.float32).tiny


class GramIndex:
    """The 1- and 2-grams of names, by gram.

    A gram weighs its inverse document frequency (Spärck Jones 1972), ``log(1 + names / (names with it + 0.5))``, which
    is above 0 also where all names have it; a 2-gram weighs half of that. Repeats in a name do not count. The weights
    follow from the postings and are not stored.

    Args:
        names: Number of names.
        postings: Their grams.
    """

    def __init__(self, names: int, postings: GramPostings) -> None:
        self.names = names
        self.postings = postings
        sizes = np.diff(postings.starts)
        self._weights = self._weigh(postings.vocabulary, sizes).astype(np.float32)
        totals = self._add(postings.positions, np.repeat(self._weights, sizes))
        self._name_shares = _NAME_SHARE / np.maximum(totals, _TINY)

    @classmethod
    def build(cls, names: Sequence[str]) -> GramIndex:
        """Find the grams of names."""
        return cls(len(names), GramPostings.build(names))

    def compare(self, text: str, same: int | None = None) -> NameScores:
        """Compare a normalised text with every name.

        The likeness of a name is ``2/3 * shared / text + 1/3 * shared / name``, where ``text`` and ``name`` are the
        weights of the grams of each, and ``shared`` that of the grams of both. These are the two containments of
        Broder 1997, of the text in the name and of the name in the text; their mean is the coefficient of Kulczynski
        1927. Names that contain the text, or are contained in it, so come before names that overlap with it in part.
        Likeness is 1 for the same name alone and 0 where no character is shared.

        Args:
            text: The text.
            same: The position of the name that is the text; None if there is none.
        """
        vocabulary, starts = self.postings.vocabulary, self.postings.starts
        keys = np.unique(gram_keys(text))
        found = np.minimum(np.searchsorted(vocabulary, keys), max(len(vocabulary) - 1, 0))
        is_known = vocabulary[found] == keys if len(vocabulary) else np.zeros(len(keys), bool)
        grams, unknown = found[is_known], keys[~is_known]
        if not len(grams):
            return NameScores(np.zeros(self.names, np.float32), np.empty(0, np.int32))
        total = float(self._weights[grams].sum() + self._weigh(unknown, np.zeros(len(unknown))).sum())
        sizes = starts[grams + 1] - starts[grams]
        rare = np.argsort(sizes, kind="stable")
        grams, sizes = grams[rare], sizes[rare]
        positions = np.concatenate([self.postings.positions[starts[gram] : starts[gram + 1]] for gram in grams])
        shares = self._add(positions, np.repeat(self._weights[grams], sizes))
        # For all names at once: two passes over them, however many are searched afterwards.
        shares *= self._name_shares + np.float32(_TEXT_SHARE / total)
        np.minimum(shares, _BELOW_ONE, out=shares)
        if same is not None:
            shares[same] = 1
        return NameScores(shares, positions[:_SAMPLE])

    def _weigh(self, keys: npt.NDArray[np.int64], frequency: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """The weights of grams that so many names have, float64."""
        inverse = np.log(1 + self.names / (frequency + 0.5))
        weights: npt.NDArray[np.float64] = np.where(is_pair(keys), _PAIR_WEIGHT, 1.0) * inverse
        return weights

    def _add(self, positions: npt.NDArray[np.int32], weights: Floats) -> Floats:
        """The sum of the weights at each position, float32 (names,)."""
        from scipy.sparse import csc_array

        # bincount would turn the positions and the weights of all postings into eight bytes each.
        column = csc_array((weights, positions, np.array([0, len(positions)], np.int32)), shape=(self.names, 1))
        sums: Floats = column @ np.ones(1, np.float32)
        return sums


class NameScores:
    """The likeness of names to one text.

    Args:
        shares: The likeness of each name, float32 (names,); see `GramIndex.compare`.
        rare: Positions of names with the rarest grams of the text, which the best are likely to be among; a position
            may come several times.
    """

    def __init__(self, shares: Floats, rare: Positions) -> None:
        self._shares = shares
        self.rare = rare

    def reaching(self, floor: float) -> Positions:
        """The names of a likeness of ``floor`` and more, where it is 0 of any."""
        return np.flatnonzero(self._shares >= np.float32(floor) if floor > 0 else self._shares > 0)

    def of(self, positions: Positions) -> Floats:
        """The likeness of some names, 0 to 1, float32."""
        return self._shares[positions]
