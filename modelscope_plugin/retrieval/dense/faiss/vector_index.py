"""The three verbs of a vector index, and the exact one behind them by default."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Protocol, runtime_checkable

import numpy as np

from modelscope_plugin.retrieval.dense.faiss.stored_vectors import StoredVectors
from modelscope_plugin.types import RowIds, Vectors

# From so many queries on FAISS is fastest as a matrix product, below with one query at a time.
_MATRIX_PRODUCT = 16
# Scores that a matrix product may hold at once, and the most rows of it that still pay.
_SCORES, _ROWS = 1 << 24, 65536
# RowIds of less than float32 that are turned into float32 at once.
_DECODED = 16384


@runtime_checkable
class VectorIndex(Protocol):
    """What an index of vectors has to do. RowIds are numbered from 0 in the order they were added.

    Attributes:
        stored: The vectors.
        scores_row_by_row: Whether scores are those of `StoredVectors.scores`, equal for equal vectors.
    """

    stored: StoredVectors
    scores_row_by_row: bool

    def __len__(self) -> int:
        """Number of rows."""
        ...

    def add(self, vectors: Vectors) -> None:
        """Append vectors (n, dim), float32."""
        ...

    def search(self, queries: Vectors, k: int) -> tuple[Vectors, RowIds]:
        """The ``k`` rows of largest dot product for each query (n, dim), as scores and rows, both (n, k)."""
        ...

    def remove(self, rows: RowIds) -> None:
        """Take rows out; those behind them move up."""
        ...


class FlatIndex:
    """Exact search by FAISS over all vectors, which may be memory-mapped.

    Args:
        stored: The vectors.
    """

    scores_row_by_row = False

    def __init__(self, stored: StoredVectors) -> None:
        self.stored = stored

    def __len__(self) -> int:
        return len(self.stored)

    def add(self, vectors: Vectors) -> None:
        """Append vectors (n, dim), float32."""
        self.stored.add(vectors)

    def search(self, queries: Vectors, k: int) -> tuple[Vectors, RowIds]:
        """The ``k`` rows of largest dot product for each query; ``k`` at most the number of rows."""
        if self.stored.precision == "float32":
            return _knn(queries, self.stored.matrix, k)
        scores = np.empty((len(queries), 0), dtype=np.float32)
        rows = np.empty((len(queries), 0), dtype=np.int64)
        for start in range(0, len(self), _DECODED):
            block = self.stored[start : start + _DECODED]
            found_scores, found_rows = _knn(queries, block, min(k, len(block)))
            scores = np.concatenate([scores, found_scores], axis=1)
            rows = np.concatenate([rows, found_rows + start], axis=1)
            # Stable, so that rows of equal scores stay in one order whatever the sort does inside.
            best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
            scores, rows = np.take_along_axis(scores, best, axis=1), np.take_along_axis(rows, best, axis=1)
        return scores, rows

    def remove(self, rows: RowIds) -> None:
        """Take rows out; those behind them move up."""
        self.stored.remove(rows)


def _knn(queries: Vectors, vectors: Vectors, k: int) -> tuple[Vectors, RowIds]:
    import faiss

    with fastest_way(len(queries)):
        return faiss.knn(queries, vectors, k, metric=faiss.METRIC_INNER_PRODUCT)


@cache
def _own_way() -> tuple[int, int]:
    """The settings of FAISS before they were first changed, to which threads that search at once all go back."""
    from faiss import cvar

    return cvar.distance_compute_blas_threshold, cvar.distance_compute_blas_database_bs


@contextmanager
def fastest_way(queries: int) -> Iterator[None]:
    """Let FAISS multiply matrices for a batch of queries; what it finds is the same either way.

    Its own choice waits for larger batches, and its blocks of 1,024 rows are too small for a batch of 64.
    """
    from faiss import cvar

    before = _own_way()
    cvar.distance_compute_blas_threshold = 1 if queries >= _MATRIX_PRODUCT else np.iinfo(np.int32).max
    cvar.distance_compute_blas_database_bs = max(1024, min(_ROWS, _SCORES // max(queries, 1)))
    try:
        yield
    finally:
        cvar.distance_compute_blas_threshold, cvar.distance_compute_blas_database_bs = before
