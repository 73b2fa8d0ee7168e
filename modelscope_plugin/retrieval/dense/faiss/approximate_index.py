"""Approximate search: FAISS proposes candidates, the stored vectors rank them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from modelscope_plugin.errors import InputError
from modelscope_plugin.retrieval.dense.faiss.kinds import dial_of, new_codes, reason_of
from modelscope_plugin.retrieval.dense.faiss.stored_vectors import StoredVectors
from modelscope_plugin.retrieval.dense.faiss.threads import for_each
from modelscope_plugin.retrieval.dense.faiss.vector_index import FlatIndex, fastest_way
from modelscope_plugin.types import RowIds, Vectors

SEARCH_FILE = "search.faiss"
ROWS_FILE = "search_rows.npy"
"""The row of each vector in the order FAISS holds them, -1 where it was removed."""

# Candidates ranked for each one wanted, and how many at least.
_PER_K, _LEAST = 3, 256
FEWEST = 1024
"""Up to so many vectors every search is exact."""

# RowIds given to FAISS at once.
_BLOCK = 16384
PER_LIST = 40
"""Vectors to train on for each list; FAISS warns below 39."""
# Lists to look at at least.
_LEAST_LISTS = 8
# Vectors to learn codes from, also where there are few lists or none.
_LEAST_SAMPLE = 20_000


class ApproximateIndex:
    """Approximate search by inverted lists or an HNSW graph of FAISS, with true scores.

    FAISS keeps codes of the vectors and proposes several times as many candidates as are wanted; these are ranked by
    their dot products with the stored vectors. A query for which it proposes too few is answered exactly. RowIds that
    are removed stay in the codes and are passed over.

    Args:
        stored: The vectors.
        codes: The index of FAISS.
        rows: The row of each vector in it, -1 where it was removed.
        mapped: Whether the index of FAISS is memory-mapped, so that it has to be copied before it can grow.
    """

    scores_row_by_row = True

    def __init__(self, stored: StoredVectors, codes: Any, rows: RowIds, *, mapped: bool = False) -> None:
        self.stored = stored
        self._codes = codes
        self._rows = rows
        self._mapped = mapped
        self._dial = dial_of(codes)

    @classmethod
    def train(cls, stored: StoredVectors, kind: str, seed: int = 0) -> ApproximateIndex:
        """Train an index of FAISS on a sample of the vectors and put all of them into it.

        Args:
            stored: The vectors.
            kind: Inverted lists or a graph as FAISS's ``index_factory`` names them, such as ``IVF4096,PQ256x4fs``
                (`approximate_kind`) or ``HNSW32,SQ8``. Threads put vectors into a
                graph as they come, so that with several of them no two graphs are quite the same.
            seed: Seed of the draw of the sample.

        Raises:
            InputError: If FAISS cannot train it on so few vectors, or it is neither of the two.
        """
        codes = new_codes(stored.dimension, kind)
        size = min(len(stored), max(PER_LIST * dial_of(codes).lists, _LEAST_SAMPLE))
        sample = stored[np.sort(np.random.default_rng(seed).choice(len(stored), size, replace=False))]
        with np.errstate(over="ignore"):
            if not np.isfinite(np.vecdot(sample, sample)).all():
                raise InputError("the vectors are too large for an approximate search; search exactly")
        try:
            codes.train(sample)
            index = cls(stored, codes, np.empty(0, dtype=np.int64))
            index._extend(0)
        except (RuntimeError, ValueError, MemoryError) as error:
            raise InputError(
                f"FAISS cannot make an index of kind {kind!r} of {len(stored)} vectors of {stored.dimension} "
                f"dimensions ({reason_of(error)}); choose another, or search exactly"
            ) from None
        return index

    def __len__(self) -> int:
        return len(self.stored)

    @property
    def held(self) -> int:
        """Vectors in the index of FAISS, the removed ones among them."""
        return len(self._rows)

    @property
    def effort(self) -> int:
        """How many of its lists, or nodes of its graph, a search looks at."""
        return int(getattr(self._dial.part, self._dial.name))

    @effort.setter
    def effort(self, value: int) -> None:
        setattr(self._dial.part, self._dial.name, value)

    @property
    def least_effort(self) -> int:
        """The `effort` to begin with; a graph looks at as many nodes as candidates are wanted in any case."""
        return _LEAST_LISTS if self._dial.lists else _LEAST

    @property
    def most_effort(self) -> int:
        """The largest `effort` that makes a difference: all lists, or all nodes."""
        return self._dial.lists or max(1, self.held)

    def add(self, vectors: Vectors) -> None:
        """Append vectors (n, dim), float32."""
        import faiss

        if self._mapped and len(vectors):
            self._codes, self._mapped = faiss.deserialize_index(faiss.serialize_index(self._codes)), False
            self._dial = dial_of(self._codes)
        first = len(self.stored)
        self.stored.add(vectors)
        self._extend(first)

    def _extend(self, first: int) -> None:
        for start in range(first, len(self.stored), _BLOCK):
            self._codes.add(np.ascontiguousarray(self.stored[start : start + _BLOCK]))
        self._rows = np.concatenate([self._rows, np.arange(first, len(self.stored), dtype=np.int64)])

    def remove(self, rows: RowIds) -> None:
        """Take rows out; those behind them move up."""
        gone = np.zeros(len(self.stored), dtype=bool)
        gone[rows] = True
        later = np.where(gone, -1, np.cumsum(~gone) - 1)
        held = self._rows >= 0
        self._rows = self._rows.copy()
        self._rows[held] = later[self._rows[held]]
        self.stored.remove(rows)

    def search(self, queries: Vectors, k: int) -> tuple[Vectors, RowIds]:
        """The ``k`` rows that seem nearest for each query, best first; ``k`` at most the number of rows."""
        wide = max(_LEAST, _PER_K * k)
        if 2 * wide >= len(self):
            return FlatIndex(self.stored).search(queries, k)
        with fastest_way(len(queries)):  # to find the lists
            _, places = self._codes.search(queries, wide)
        scores = np.empty((len(queries), k), dtype=np.float32)
        rows = np.empty((len(queries), k), dtype=np.int64)
        short = []

        def rank(number: int) -> None:
            found = self._rows[places[number][places[number] >= 0]]
            found = found[found >= 0]
            if len(found) < k:
                short.append(number)
                return
            nearest = found[np.argpartition(-self.stored.rough_scores(queries[number], found), k - 1)[:k]]
            found_scores = self.stored.scores(queries[number], nearest)
            best = np.argsort(-found_scores, kind="stable")
            scores[number], rows[number] = found_scores[best], nearest[best]

        for_each(rank, len(queries))
        if short:
            scores[short], rows[short] = FlatIndex(self.stored).search(queries[short], k)
        return scores, rows

    def save(self, folder: Path) -> list[str]:
        """Write the files of the search, without the vectors, into a folder and give their names."""
        import faiss

        faiss.write_index(self._codes, str(folder / SEARCH_FILE))
        np.save(folder / ROWS_FILE, self._rows)
        return [SEARCH_FILE, ROWS_FILE]

    @classmethod
    def load(cls, folder: Path, stored: StoredVectors) -> ApproximateIndex:
        """Open the files that `save` wrote, memory-mapped where FAISS can.

        Raises:
            ValueError: If a file is damaged or of other vectors.
        """
        import faiss

        # Older versions read it into memory; their own mapping of inverted lists cannot be copied.
        flags = getattr(faiss, "IO_FLAG_MMAP_IFC", 0)
        try:
            codes = faiss.read_index(str(folder / SEARCH_FILE), flags)
            dial_of(codes)
        except (RuntimeError, ValueError) as error:
            raise ValueError(f"{SEARCH_FILE}: {error}") from None
        rows = np.load(folder / ROWS_FILE)
        if rows.dtype != np.int64 or rows.max(initial=-1) >= len(stored):
            raise ValueError(f"{ROWS_FILE} holds no rows of these vectors")
        if codes.d != stored.dimension or rows.shape != (codes.ntotal,) or np.count_nonzero(rows >= 0) != len(stored):
            raise ValueError(f"{SEARCH_FILE} is not of these vectors")
        return cls(stored, codes, rows, mapped=bool(flags))
