"""BM25 over the character grams of names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from modelscope_plugin.retrieval.lexical.grams import count_grams, gram_keys

Floats: TypeAlias = npt.NDArray[np.float32]
Positions: TypeAlias = npt.NDArray[np.integer]

_K1, _B = 1.2, 0.75
GRAM_FIELDS = ("vocabulary", "starts", "places", "weights", "selves")
# Postings of a text whose names are looked at to estimate where the best begin.
_SAMPLE = 4096
# A share times what it is a share of is the whole again to less than this part of it, in float32.
_SLACK = 1e-5


class GramIndex:
    """BM25 weights of the 1- and 2-grams of names, by gram.

    The weights are those of Robertson and Zaragoza 2009 with k1 = 1.2 and b = 0.75; the logarithm of the inverse
    document frequency has 1 added inside, as in Lucene, so that it is never negative. All of it is five arrays: the
    grams in rising order (int64), where the postings of each begin (int64), the positions of the names in them (int32),
    their weights (float32), and the score of each name against itself (float32).

    Args:
        names: Number of names.
        arrays: The five arrays, as `arrays` gives them.
    """

    def __init__(self, names: int, arrays: dict[str, npt.NDArray[Any]]) -> None:
        self.names = names
        self.arrays = arrays
        self._vocabulary, self._starts, self._positions, self._weights, self._selves = (
            arrays[field] for field in GRAM_FIELDS
        )
        self._unknown = float(np.log(1 + (names + 0.5) / 0.5))
        self._mean = len(self._positions) / max(names, 1)

    @classmethod
    def build(cls, names: Sequence[str]) -> GramIndex:
        """Count the grams of names and weigh them."""
        vocabulary, starts, positions, counts = count_grams(names)
        frequency = np.diff(starts)
        # A name is as long as it has different grams: what BM25 calls the length, without a second count of repeats.
        norms = _norm(np.bincount(positions, minlength=len(names)), len(positions) / max(len(names), 1))
        inverse = np.log(1 + (len(names) - frequency + 0.5) / (frequency + 0.5))
        weights = np.repeat(inverse, frequency) * counts * (_K1 + 1) / (counts + norms[positions])
        selves = np.bincount(positions, weights * counts, len(names)).astype("f4")
        arrays = (vocabulary, starts, positions, weights.astype("f4"), selves)
        return cls(len(names), dict(zip(GRAM_FIELDS, arrays, strict=True)))

    def compare(self, text: str) -> NameScores:
        """Compare a normalised text with every name."""
        from scipy.sparse import csc_array

        keys, counts = np.unique(gram_keys(text), return_counts=True)
        found = np.minimum(np.searchsorted(self._vocabulary, keys), max(len(self._vocabulary) - 1, 0))
        known = self._vocabulary[found] == keys if len(self._vocabulary) else np.zeros(len(keys), bool)
        grams, times = found[known], counts[known].astype(np.float32)
        sizes = self._starts[grams + 1] - self._starts[grams]
        inverse = np.full(len(keys), self._unknown)
        inverse[known] = np.log(1 + (self.names - sizes + 0.5) / (sizes + 0.5))
        norm = _norm(np.array(len(keys)), self._mean)
        own = float((inverse * counts * counts * (_K1 + 1) / (counts + norm)).sum())
        if not len(grams):
            return NameScores(np.zeros(self.names, np.float32), np.empty(0, np.int32), self._selves, own)
        rare = np.argsort(sizes, kind="stable")
        spans = [slice(self._starts[gram], self._starts[gram + 1]) for gram in grams[rare]]
        positions = np.concatenate([self._positions[span] for span in spans])
        weights = np.concatenate([self._weights[span] for span in spans])
        postings = csc_array(
            (weights, positions, np.append(0, np.cumsum(sizes[rare])).astype(np.int32)), shape=(self.names, len(rare))
        )
        return NameScores(postings @ times[rare], positions[:_SAMPLE], self._selves, own)


class NameScores:
    """The likeness of names to one text.

    The likeness of a name is its BM25 score as a share of the score that the text, or the name, has against itself,
    whichever is larger: 1 for the same name, 0 where no character is shared.

    Args:
        scores: The score of each name, float32 (names,).
        rare: Positions of names with the rarest grams of the text, which the best are likely to be among; a position
            may come several times.
        selves: The score of each name against itself, float32 (names,).
        own: The score of the text against itself.
    """

    def __init__(self, scores: Floats, rare: Positions, selves: Floats, own: float) -> None:
        self._scores = scores
        self.rare = rare
        self._selves = selves
        self._own = np.float32(own)

    def reaching(self, floor: float) -> Positions:
        """The names of a likeness of ``floor`` and more, where it is 0 of any, and few others."""
        # The score as a share of that of the text alone is never less.
        floor = floor * (1 - _SLACK) * self._own
        return np.flatnonzero(self._scores >= np.float32(floor) if floor > 0 else self._scores > 0)

    def of(self, positions: Positions) -> Floats:
        """The likeness of some names, 0 to 1, float32."""
        shares: Floats = self._scores[positions] / np.maximum(self._selves[positions], self._own)
        return shares.clip(max=1)


def _norm(lengths: npt.NDArray[np.int64], mean: float) -> npt.NDArray[np.float64]:
    """What BM25 adds to the count of a gram for the length of its name."""
    return _K1 * (1 - _B + _B * lengths.astype(np.float64) / max(mean, 1e-9))
