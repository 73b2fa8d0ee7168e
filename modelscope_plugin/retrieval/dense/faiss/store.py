"""Entity vectors in memory or memory-mapped, searched by FAISS."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from modelscope_plugin.errors import InputError
from modelscope_plugin.retrieval.arrays import map_array, save_array
from modelscope_plugin.retrieval.dense.faiss.approximate_index import ROWS_FILE, SEARCH_FILE, ApproximateIndex
from modelscope_plugin.retrieval.dense.faiss.entity_search import EntitySearch
from modelscope_plugin.retrieval.dense.faiss.owners import VectorOwners
from modelscope_plugin.retrieval.dense.faiss.search_choice import RENEW_SHARE, renew_search, tune_search
from modelscope_plugin.retrieval.dense.faiss.vector_matrix import SCALES_FILE, VectorMatrix
from modelscope_plugin.retrieval.dense.tuning import Tuning
from modelscope_plugin.retrieval.knowledge_base import IdTable
from modelscope_plugin.types import RowIds, Vectors

_QUERIES_FILE = "queries.npy"

TUNING_FILES = (SCALES_FILE, SEARCH_FILE, ROWS_FILE, _QUERIES_FILE)
"""The files of an index that was tuned, beside its vectors."""


class FaissStore:
    """A `VectorStore` that searches exactly until `tune` chooses otherwise.

    Args:
        dimension: Size of the vectors.
        id_table: An empty table to share with a knowledge base.
        temperature: Of the softmax that is summed over the vectors of an entity; 0 for its best vector alone
            (`EntitySearch`).
    """

    def __init__(self, dimension: int, id_table: IdTable | None = None, temperature: float = 0.0) -> None:
        self._dimension = dimension
        self.tuning = Tuning()
        # Of the mentions that recall was measured on, whole.
        self._queries: Vectors = np.empty((0, dimension), dtype=np.float32)
        none = VectorOwners(np.empty(0, dtype=np.int64))
        ids = IdTable() if id_table is None else id_table
        self._search = EntitySearch(VectorMatrix(dimension), none, ids, temperature=temperature)

    def __len__(self) -> int:
        return len(self._search.ids)

    @property
    def dimension(self) -> int:
        """Size of the vectors that `add`, `search` and `scores` take."""
        return self._dimension

    @property
    def vectors(self) -> Vectors:
        """All vectors as they are stored, float32 (vectors, kept dimensions), those of one entity together."""
        return self._search.vectors[:]

    @property
    def bytes_per_vector(self) -> int:
        """Bytes that a stored vector takes."""
        return self._search.vectors.bytes_per_vector

    def add(self, ids: Sequence[str], vectors: Vectors) -> None:
        """Add entities by their vectors; see `VectorStore.add`."""
        counts = [(one, sum(1 for _ in same)) for one, same in groupby(ids)]
        new = [one for one, _ in counts]
        if len(set(new)) < len(new):
            raise InputError("the vectors of one entity must follow each other")
        search = self._search
        # First what may refuse the vectors; rows that are there already stay where they are.
        (search.vectors if search.approximate is None else search.approximate).add(self._cut(vectors))
        self._replace([one for one in new if one in search.ids], new, [count for _, count in counts])

    def remove(self, ids: Collection[str]) -> None:
        """Remove entities that are there."""
        self._replace(list(ids), [], [])

    def _replace(self, removed: Sequence[str], added: Sequence[str], counts: Sequence[int]) -> None:
        """Remove entities, and take in others whose vectors were appended."""
        search, rows = self._search, np.empty(0, dtype=np.int64)
        if removed:
            rows = np.sort(search.ids.rows(removed))
            gone, _ = search.owners.vectors_of(rows)
            (search.vectors if search.approximate is None else search.approximate).remove(gone)
        owners = search.owners.replace(rows, np.array(counts, dtype=np.int64))
        self._search = replace(search, owners=owners, ids=search.ids.replace(removed, added))

    def search(self, queries: Vectors, k: int, *, exact: bool = False) -> tuple[Vectors, list[list[str]]]:
        """Find the nearest entities; see `VectorStore.search`."""
        search = replace(self._search, approximate=None) if exact else self._search
        scores, rows = search.search(self._cut(queries), k)
        return scores, [search.ids.ids_at(found) for found in rows.tolist()]

    def scores(self, query: Vectors, ids: Collection[str]) -> Vectors:
        """The exact scores of some entities for one query (dim,), float32 (n,)."""
        return self._search.scores(self._cut(query), self._search.ids.rows(ids))

    def best_vector(self, query: Vectors, entity_id: str) -> int:
        """Which vector of an entity is nearest to a query (dim,): its position among them, the first of equal ones."""
        vectors, _ = self._search.owners.vectors_of(self._search.ids.rows([entity_id]))
        return int(self._search.vectors.scores(self._cut(query), vectors).argmax())

    def _cut(self, vectors: Vectors) -> Vectors:
        """Vectors (..., dim) without the dimensions that are not kept."""
        return np.ascontiguousarray(vectors[..., : self._search.vectors.dimension])

    def tune(self, queries: Vectors, *, search: str, precision: str, truncate_dim: int | None) -> Tuning:
        """Choose how to search, and measure recall; see `EntityIndex.tune`."""
        if self.tuning.precision != "float32" or self.tuning.truncate_dim:
            raise InputError(f"the vectors are no longer whole ({self.tuning}); build the index again to tune it")
        exact = replace(self._search, approximate=None)
        self._search, self.tuning = tune_search(exact, queries, search, precision, truncate_dim)
        self._queries = queries if self.tuning.kind != "exact" else queries[:0]
        return self.tuning

    @property
    def changed(self) -> float:
        """Share of an approximate index that was added or removed since it was trained; 0 for exact search."""
        index = self._search.approximate
        if index is None:
            return 0.0
        added = index.held - self.tuning.trained
        return (added + index.held - len(index)) / max(1, self.tuning.trained)

    def renew(self) -> Tuning | None:
        """Train an approximate index again if more than `RENEW_SHARE` of it has changed; see `EntityIndex.renew`."""
        if self.changed <= RENEW_SHARE:
            return None
        self._search, self.tuning = renew_search(self._search, self._cut(self._queries), self.tuning)
        return self.tuning

    def save(self, folder: Path) -> list[str]:
        """Write the files of the store into a folder; their names. Which vectors are whose is not among them."""
        files = self._search.vectors.save(folder)
        if self._search.approximate is not None:
            save_array(folder / _QUERIES_FILE, self._queries)
            files += [*self._search.approximate.save(folder), _QUERIES_FILE]
        return files

    @classmethod
    def open(
        cls,
        folder: Path,
        search: dict[str, Any],
        dimension: int,
        id_table: IdTable,
        counts: RowIds,
        temperature: float = 0.0,
    ) -> FaissStore:
        """Open the files that `save` wrote, memory-mapped.

        Args:
            folder: The folder.
            search: The tuning as a JSON object; empty for exact search of whole float32 vectors.
            dimension: Size of the vectors of the model.
            id_table: The ids of the entities.
            counts: How many vectors each of them has, int64 (entities,).
            temperature: As for a new store.

        Raises:
            ValueError: If a file is damaged or holds something else.
        """
        store = cls(dimension)
        store.tuning = Tuning.from_record(search) if search else Tuning()
        kept = store.tuning.truncate_dim or dimension
        vectors = VectorMatrix.load(folder, store.tuning.precision, int(counts.sum()), kept)
        approximate = None
        if store.tuning.kind != "exact":
            approximate = ApproximateIndex.load(folder, vectors)
            store._queries = np.array(map_array(folder / _QUERIES_FILE, "float32", (None, dimension)))
        store._search = EntitySearch(vectors, VectorOwners(counts), id_table, approximate, temperature)
        return store
