"""The three verbs of a vector index, and the exact one behind them by default."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]


@runtime_checkable
class VectorIndex(Protocol):
    """What an index of vectors has to do. Rows are numbered from 0 in the order they were added."""

    def __len__(self) -> int:
        """Number of rows."""
        ...

    def add(self, vectors: Vectors) -> None:
        """Append vectors (n, dim), float32."""
        ...

    def search(self, queries: Vectors, k: int) -> tuple[Vectors, Rows]:
        """The ``k`` rows of largest dot product for each query (n, dim), as scores and rows, both (n, k)."""
        ...

    def remove(self, rows: Rows) -> None:
        """Take rows out; those behind them move up."""
        ...


class FlatIndex:
    """Exact search by FAISS over one matrix, which may be memory-mapped.

    Args:
        vectors: float32 matrix (n, dim), C-contiguous.
    """

    def __init__(self, vectors: Vectors) -> None:
        self._blocks = [vectors]

    def __len__(self) -> int:
        return sum(map(len, self._blocks))

    @property
    def vectors(self) -> Vectors:
        """All rows, float32 (n, dim)."""
        if len(self._blocks) > 1:
            self._blocks = [np.concatenate(self._blocks)]
        return self._blocks[0]

    def add(self, vectors: Vectors) -> None:
        """Append vectors (n, dim), float32."""
        self._blocks.append(vectors)

    def search(self, queries: Vectors, k: int) -> tuple[Vectors, Rows]:
        """The ``k`` rows of largest dot product for each query; ``k`` at most the number of rows."""
        import faiss

        return faiss.knn(queries, self.vectors, k, metric=faiss.METRIC_INNER_PRODUCT)

    def remove(self, rows: Rows) -> None:
        """Take rows out; those behind them move up."""
        self._blocks = [np.delete(self.vectors, rows, axis=0)]
