"""The vectors of an index together with the way they are searched, and the files of both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from modelscope_plugin.errors import InputError
from modelscope_plugin.retrieval.dense.faiss.approximate_index import ROWS_FILE, SEARCH_FILE, ApproximateIndex
from modelscope_plugin.retrieval.dense.faiss.stored_vectors import SCALES_FILE, StoredVectors
from modelscope_plugin.retrieval.dense.faiss.tuning import RENEW_SHARE, EntityVectors, Tuning, tuned, tuned_again
from modelscope_plugin.retrieval.dense.faiss.vector_index import FlatIndex
from modelscope_plugin.types import Vectors

_QUERIES_FILE = "queries.npy"

TUNING_FILES = (SCALES_FILE, SEARCH_FILE, ROWS_FILE, _QUERIES_FILE)
"""The files of an index that was tuned, beside its vectors."""


class SearchedVectors:
    """Vectors, exact until `tune` chooses otherwise.

    Args:
        dimension: Size of the vectors of the model.
    """

    def __init__(self, dimension: int) -> None:
        self.tuning = Tuning()
        self.index: FlatIndex | ApproximateIndex = FlatIndex(StoredVectors(dimension))
        self._queries: Vectors = np.empty((0, dimension), dtype=np.float32)

    def __len__(self) -> int:
        return len(self.index)

    @property
    def stored(self) -> StoredVectors:
        """The vectors in the precision they are stored in."""
        return self.index.stored

    @property
    def exact(self) -> FlatIndex:
        """Exact search over the vectors."""
        return FlatIndex(self.stored)

    def cut(self, vectors: Vectors) -> Vectors:
        """Vectors (..., dim) without the dimensions that are not kept."""
        return np.ascontiguousarray(vectors[..., : self.stored.dimension])

    def tune(
        self,
        entities: EntityVectors,
        queries: Vectors,
        *,
        search: str,
        precision: str,
        truncate_dim: int | None,
    ) -> Tuning:
        """As `EntityIndex.tune`, for the entities that the vectors are of."""
        if self.tuning.precision != "float32" or self.tuning.truncate_dim:
            raise InputError(f"the vectors are no longer whole ({self.tuning}); build the index again to tune it")
        self.index, self.tuning = tuned(self.stored[:], entities, queries, search, precision, truncate_dim)
        self._queries = queries if self.tuning.kind != "exact" else queries[:0]
        return self.tuning

    @property
    def changed(self) -> float:
        """Share of an approximate index that was added or removed since it was trained; 0 for exact search."""
        if not isinstance(self.index, ApproximateIndex):
            return 0.0
        added = self.index.held - self.tuning.trained
        return (added + self.index.held - len(self)) / max(1, self.tuning.trained)

    def renew(self, entities: EntityVectors) -> Tuning | None:
        """As `EntityIndex.renew`, for the entities that the vectors are of."""
        if self.changed <= RENEW_SHARE:
            return None
        self.index, self.tuning = tuned_again(self.stored, entities, self.cut(self._queries), self.tuning)
        return self.tuning

    def save(self, folder: Path) -> list[str]:
        """Write the files into a folder and give their names."""
        files = self.stored.save(folder)
        if isinstance(self.index, ApproximateIndex):
            np.save(folder / _QUERIES_FILE, self._queries)
            files += [*self.index.save(folder), _QUERIES_FILE]
        return files

    @classmethod
    def load(cls, folder: Path, search: dict[str, Any], rows: int, dimension: int) -> SearchedVectors:
        """Open the files that `save` wrote, memory-mapped.

        Args:
            folder: The folder.
            search: The tuning as a JSON object; empty for exact search of whole float32 vectors.
            rows: How many vectors there have to be.
            dimension: Size of the vectors of the model.

        Raises:
            ValueError: If a file is damaged or holds something else.
        """
        vectors = cls(dimension)
        vectors.tuning = Tuning.from_record(search) if search else Tuning()
        kept = vectors.tuning.truncate_dim or dimension
        stored = StoredVectors.load(folder, vectors.tuning.precision, rows, kept)
        vectors.index = FlatIndex(stored)
        if vectors.tuning.kind != "exact":
            vectors.index = ApproximateIndex.load(folder, stored)
            queries = np.load(folder / _QUERIES_FILE)
            if queries.dtype != np.float32 or queries.ndim != 2 or queries.shape[1] != dimension:
                raise ValueError(f"{_QUERIES_FILE} holds no queries of {dimension} dimensions")
            vectors._queries = queries
        return vectors
