"""Which vectors are those of which entity."""

from __future__ import annotations

import numpy as np

from modelscope_plugin.types import RowIds


class VectorOwners:
    """Maps each vector row to the entity it represents; it never changes.

    The vectors of one entity stand together, and the entities in the order of their rows.

    Args:
        counts: How many vectors each entity has, at least 1; int64 (entities,).

    Attributes:
        most: How many the entity with the most vectors has.
        has_one_each: Whether each entity has one.
    """

    def __init__(self, counts: RowIds) -> None:
        self._entities = len(counts)
        self.most = int(counts.max(initial=1))
        self.has_one_each = self.most == 1
        # Where each entity has one vector, vector rows are entity rows and nothing has to be kept.
        kept = counts[:0] if self.has_one_each else counts
        self._starts: RowIds = np.append(0, np.cumsum(kept)).astype(np.int64)
        self._owners = np.repeat(np.arange(len(kept), dtype=np.int32), kept)

    def __len__(self) -> int:
        """Number of entities."""
        return self._entities

    @property
    def counts(self) -> RowIds:
        """How many vectors each entity has, int64 (entities,)."""
        return np.ones(self._entities, dtype=np.int64) if self.has_one_each else np.diff(self._starts)

    def entities_of(self, vectors: RowIds) -> RowIds:
        """The entity of each of some vectors, int64 (n,)."""
        return vectors if self.has_one_each else self._owners[vectors].astype(np.int64)

    def vectors_of(self, entities: RowIds) -> tuple[RowIds, RowIds]:
        """The vectors of some entities, one entity after another, and the position where those of each begin."""
        if self.has_one_each:
            return entities, np.arange(len(entities))
        first = self._starts[entities]
        counts = self._starts[entities + 1] - first
        begins = np.cumsum(counts) - counts
        return np.repeat(first - begins, counts) + np.arange(counts.sum()), begins

    def replace(self, removed: RowIds, added: RowIds) -> VectorOwners:
        """The owners without some entities and with others, of so many vectors each, behind the rest."""
        return VectorOwners(np.concatenate([np.delete(self.counts, removed), added]))
