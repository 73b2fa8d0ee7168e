"""Approximate search: FAISS proposes candidates, which are ranked by the stored vectors."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import numpy as np

from modelscope_plugin.errors import InputError
from modelscope_plugin.retrieval.arrays import map_array, save_array
from modelscope_plugin.retrieval.dense.faiss.exact_search import search_exact
from modelscope_plugin.retrieval.dense.faiss.kinds import effort_setting, faiss_message, make_faiss_index
from modelscope_plugin.retrieval.dense.faiss.threads import map_shares
from modelscope_plugin.retrieval.dense.faiss.vector_matrix import VectorMatrix
from modelscope_plugin.types import RowIds, Vectors

SEARCH_FILE = "search.faiss"
ROWS_FILE = "search_rows.npy"
"""The row of each vector in the order FAISS holds them, -1 where it was removed."""

# Candidates ranked for each one wanted, and how many at least.
_PER_K, _LEAST = 3, 256
FEWEST = 1024
"""Up to so many vectors every search is exact."""

# Rows given to FAISS at once.
_BLOCK = 16384
PER_LIST = 40
"""Vectors to train on for each list; FAISS warns below 39."""
# Lists to look at at least.
_LEAST_LISTS = 8
# Vectors to learn codes from, also where there are few lists or none.
_LEAST_SAMPLE = 20_000


class ApproximateIndex:
    """Approximate search by inverted lists or an HNSW graph of FAISS, with true scores.

    FAISS keeps codes of the vectors and proposes several times as many candidates as are asked for; these are ranked by
    their dot products with the stored vectors. A query for which it proposes too few is answered exactly. Rows that
    are removed stay in the codes and are passed over.

    Args:
        vectors: The vectors.
        codes: The index of FAISS.
        rows: The row of each vector in it, -1 where it was removed.
        is_mapped: Whether the index of FAISS is memory-mapped, so that it has to be copied before it can grow.
    """

    def __init__(self, vectors: VectorMatrix, codes: Any, rows: RowIds, *, is_mapped: bool = False) -> None:
        self.vectors = vectors
        self._codes = codes
        self._rows = rows
        self._is_mapped = is_mapped
        self._setting = effort_setting(codes)

    @classmethod
    def train(cls, vectors: VectorMatrix, kind: str, seed: int = 0) -> ApproximateIndex:
        """Train an index of FAISS on a sample of the vectors and put all of them into it.

        Args:
            vectors: The vectors.
            kind: Inverted lists or a graph as FAISS's ``index_factory`` names them, such as ``IVF4096,PQ256x4fs``
                (`approximate_kind`) or ``HNSW32,SQ8``. Threads put vectors into a
                graph as they come, so that with several of them no two graphs are quite the same.
            seed: Seed of the draw of the sample.

        Raises:
            InputError: If FAISS cannot train it on so few vectors, or it is neither of the two.
        """
        codes = make_faiss_index(vectors.dimension, kind)
        size = min(len(vectors), max(PER_LIST * effort_setting(codes).lists, _LEAST_SAMPLE))
        sample = vectors[np.sort(np.random.default_rng(seed).choice(len(vectors), size, replace=False))]
        with np.errstate(over="ignore"):
            if not np.isfinite(np.vecdot(sample, sample)).all():
                raise InputError("the vectors are too large for an approximate search; search exactly")
        try:
            codes.train(sample)
            index = cls(vectors, codes, np.empty(0, dtype=np.int64))
            index._extend(0)
        except (RuntimeError, ValueError, MemoryError) as error:
            raise InputError(
                f"FAISS cannot make an index of kind {kind!r} of {len(vectors)} vectors of {vectors.dimension} "
                f"dimensions ({faiss_message(error)}); choose another, or search exactly"
            ) from None
        return index

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def held(self) -> int:
        """Vectors in the index of FAISS, the removed ones among them."""
        return len(self._rows)

    @property
    def effort(self) -> int:
        """How many of its lists, or nodes of its graph, a search looks at."""
        return int(getattr(self._setting.part, self._setting.name))

    @effort.setter
    def effort(self, value: int) -> None:
        setattr(self._setting.part, self._setting.name, value)

    @property
    def least_effort(self) -> int:
        """The `effort` to begin with; a graph looks at as many nodes as candidates are wanted in any case."""
        return _LEAST_LISTS if self._setting.lists else _LEAST

    @property
    def most_effort(self) -> int:
        """The largest `effort` that makes a difference: all lists, or all nodes."""
        return self._setting.lists or max(1, self.held)

    def add(self, vectors: Vectors) -> None:
        """Append vectors (n, dim), float32."""
        import faiss

        if self._is_mapped and len(vectors):
            self._codes, self._is_mapped = faiss.deserialize_index(faiss.serialize_index(self._codes)), False
            self._setting = effort_setting(self._codes)
        first = len(self.vectors)
        self.vectors.add(vectors)
        self._extend(first)

    def _extend(self, first: int) -> None:
        for start in range(first, len(self.vectors), _BLOCK):
            self._codes.add(np.ascontiguousarray(self.vectors[start : start + _BLOCK]))
        self._rows = np.concatenate([self._rows, np.arange(first, len(self.vectors), dtype=np.int64)])

    def remove(self, rows: RowIds) -> None:
        """Take rows out; those behind them move up."""
        gone = np.zeros(len(self.vectors), dtype=bool)
        gone[rows] = True
        later = np.where(gone, -1, np.cumsum(~gone) - 1)
        held = self._rows >= 0
        self._rows = self._rows.copy()
        self._rows[held] = later[self._rows[held]]
        self.vectors.remove(rows)

    def search(self, queries: Vectors, k: int) -> tuple[Vectors, RowIds]:
        """The ``k`` rows that seem nearest for each query, best first; ``k`` at most the number of rows.

        The scores are those of `VectorMatrix.scores`.
        """
        wide = max(_LEAST, _PER_K * k)
        scores = np.empty((len(queries), k), dtype=np.float32)
        rows = np.empty((len(queries), k), dtype=np.int64)

        def rank(number: int, found: RowIds) -> None:
            if len(found) > k:
                found = found[np.argpartition(-self.vectors.rough_scores(queries[number], found), k - 1)[:k]]
            found_scores = self.vectors.scores(queries[number], found)
            best = np.argsort(-found_scores, kind="stable")
            scores[number], rows[number] = found_scores[best], found[best]

        def search_share(share: slice) -> list[int]:
            """Rank what FAISS proposes; the queries for which that is too little."""
            short = []
            for number, proposed in enumerate(self._codes.search(queries[share], wide)[1], share.start):
                found = self._rows[proposed[proposed >= 0]]
                found = found[found >= 0]
                if len(found) < k:
                    short.append(number)
                else:
                    rank(number, found)
            return short

        if 2 * wide >= len(self):
            short = list(range(len(queries)))
        else:
            short = [number for part in map_shares(search_share, len(queries)) for number in part]
        for number, found in zip(short, search_exact(queries[short], self.vectors, k)[1], strict=True):
            rank(number, found)
        return scores, rows

    def save(self, folder: Path) -> list[str]:
        """Write the files of the search, without the vectors, into a folder and give their names."""
        import faiss

        try:
            faiss.write_index(self._codes, str(folder / SEARCH_FILE))
        except RuntimeError as error:
            raise OSError(errno.EIO, f"{SEARCH_FILE} cannot be written: {faiss_message(error)}") from None
        save_array(folder / ROWS_FILE, self._rows)
        return [SEARCH_FILE, ROWS_FILE]

    @classmethod
    def load(cls, folder: Path, vectors: VectorMatrix) -> ApproximateIndex:
        """Open the files that `save` wrote, memory-mapped where FAISS can.

        Raises:
            ValueError: If a file is damaged or of other vectors.
        """
        import faiss

        # Older versions read it into memory; their own mapping of inverted lists cannot be copied.
        flags = getattr(faiss, "IO_FLAG_MMAP_IFC", 0)
        try:
            codes = faiss.read_index(str(folder / SEARCH_FILE), flags)
            effort_setting(codes)
        except (RuntimeError, ValueError) as error:
            raise ValueError(f"{SEARCH_FILE}: {error}") from None
        rows = np.array(map_array(folder / ROWS_FILE, "int64", (None,), least=-1, most=len(vectors) - 1))
        if not (np.bincount(rows[rows >= 0], minlength=len(vectors)) == 1).all():
            raise ValueError(f"{ROWS_FILE} does not hold each vector once")
        if codes.d != vectors.dimension or len(rows) != codes.ntotal:
            raise ValueError(f"{SEARCH_FILE} is not of these vectors")
        return cls(vectors, codes, rows, is_mapped=bool(flags))
