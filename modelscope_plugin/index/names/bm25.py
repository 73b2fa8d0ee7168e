"""BM25 over the character grams of names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from modelscope_plugin.index.names.grams import gram_keys

Floats: TypeAlias = npt.NDArray[np.float32]

_K1, _B = 1.2, 0.75
_FIELDS = ("vocabulary", "starts", "places", "weights", "selves")
# What numpy gathers of a query's postings to estimate where the best scores begin.
_SAMPLE = 4096


class GramIndex:
    """BM25 weights of the 1- and 2-grams of names, by gram.

    The weights are those of Robertson and Zaragoza 2009 with k1 = 1.2 and b = 0.75; the logarithm of the inverse
    document frequency has 1 added inside, as in Lucene, so that it is never negative. All of it is five arrays: the
    grams in rising order (int64), where the postings of each begin (int64), the places of the names in them (int32),
    their weights (float32), and the score of each name against itself (float32).

    Args:
        names: Number of names.
        arrays: The five arrays, as `arrays` gives them.
    """

    def __init__(self, names: int, arrays: dict[str, npt.NDArray[np.generic]]) -> None:
        self.names = names
        self.arrays = arrays
        self._vocabulary, self._starts, self._places, self._weights, self.selves = (arrays[field] for field in _FIELDS)
        self._unknown = float(np.log(1 + (names + 0.5) / 0.5))
        self._mean = len(self._places) / max(names, 1)

    @classmethod
    def build(cls, names: Sequence[str]) -> GramIndex:
        """Count the grams of names and weigh them."""
        from scipy.sparse import coo_array

        keys, owners = gram_keys(names)
        vocabulary, grams = np.unique(keys, return_inverse=True)
        counts = coo_array(
            (np.ones(len(keys), np.float32), (grams, owners.astype(np.int32))), shape=(len(vocabulary), len(names))
        ).tocsr()
        frequency = np.diff(counts.indptr)
        # A name is as long as it has different grams: what BM25 calls the length, without a second count of repeats.
        lengths = np.bincount(counts.indices, minlength=len(names))
        norms = _norm(lengths, counts.nnz / max(len(names), 1))
        inverse = np.log(1 + (len(names) - frequency + 0.5) / (frequency + 0.5))
        weights = np.repeat(inverse, frequency) * counts.data * (_K1 + 1) / (counts.data + norms[counts.indices])
        selves = np.bincount(counts.indices, weights * counts.data, len(names)).astype("f4")
        arrays = (
            vocabulary,
            counts.indptr.astype(np.int64),
            counts.indices.astype(np.int32),
            weights.astype("f4"),
            selves,
        )
        return cls(len(names), dict(zip(_FIELDS, arrays, strict=True)))

    def scores(self, text: str) -> tuple[Floats, npt.NDArray[np.int32], float]:
        """Score every name.

        Args:
            text: The normalised mention.

        Returns:
            The BM25 score of every name, float32 (names,); places of names with the mention's rarest grams, among which
            the best are likely to be; and the score that the mention would have as a name itself.
        """
        from scipy.sparse import csc_array

        keys, counts = np.unique(gram_keys([text])[0], return_counts=True)
        found = np.minimum(np.searchsorted(self._vocabulary, keys), max(len(self._vocabulary) - 1, 0))
        known = self._vocabulary[found] == keys if len(self._vocabulary) else np.zeros(len(keys), bool)
        grams, times = found[known], counts[known].astype(np.float32)
        sizes = self._starts[grams + 1] - self._starts[grams]
        inverse = np.full(len(keys), self._unknown)
        inverse[known] = np.log(1 + (self.names - sizes + 0.5) / (sizes + 0.5))
        norm = _norm(np.array(len(keys)), self._mean)
        own = float((inverse * counts * counts * (_K1 + 1) / (counts + norm)).sum())
        if not len(grams):
            return np.zeros(self.names, np.float32), np.empty(0, np.int32), own
        rare = np.argsort(sizes, kind="stable")
        spans = [slice(self._starts[gram], self._starts[gram + 1]) for gram in grams[rare]]
        places = np.concatenate([self._places[span] for span in spans])
        weights = np.concatenate([self._weights[span] for span in spans])
        postings = csc_array(
            (weights, places, np.append(0, np.cumsum(sizes[rare])).astype(np.int32)), shape=(self.names, len(rare))
        )
        scores: Floats = postings @ times[rare]
        return scores, np.unique(places[:_SAMPLE]), own


def _norm(lengths: npt.NDArray[np.int64], mean: float) -> npt.NDArray[np.float64]:
    """What BM25 adds to the count of a gram for the length of its name."""
    return _K1 * (1 - _B + _B * lengths.astype(np.float64) / max(mean, 1e-9))
