"""What a store of entity vectors does for an index."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from modelscope_plugin.retrieval.dense.tuning import Tuning
from modelscope_plugin.types import Vectors


class VectorStore(Protocol):
    """The vectors of entities, by id, searchable by dot product.

    An entity has one vector or several (its views); its score is that of its best vector, or is summed over all of its
    vectors (``view_scores`` of `ViewSettings`). A new kind of store is a folder beside ``faiss`` with a class that has
    these members.
    """

    @property
    def dimension(self) -> int:
        """Size of the vectors that `add`, `search` and `scores` take."""
        ...

    @property
    def vectors(self) -> Vectors:
        """All vectors as they are stored, float32 (vectors, kept dimensions), those of one entity together."""
        ...

    @property
    def bytes_per_vector(self) -> int:
        """Bytes that a stored vector takes."""
        ...

    def __len__(self) -> int:
        """Number of entities."""
        ...

    def add(self, ids: Sequence[str], vectors: Vectors) -> None:
        """Add entities; those of an id that is already there are replaced.

        Args:
            ids: The id of the entity of each vector; the vectors of one entity follow each other.
            vectors: float32 (n, dim).

        Raises:
            InputError: If the store cannot hold a vector, or an id comes again behind another; nothing changes then.
        """
        ...

    def remove(self, ids: Collection[str]) -> None:
        """Remove entities that are there."""
        ...

    def search(self, queries: Vectors, k: int, *, exact: bool = False) -> tuple[Vectors, list[list[str]]]:
        """Find the ``k`` entities of the largest scores.

        Args:
            queries: float32 (n, dim).
            k: How many, at most as many as there are.
            exact: Whether to search exactly also where the store searches approximately.

        Returns:
            Scores, float32 (n, k), and ids of distinct entities, best first; equal scores are ordered by id.
        """
        ...

    def scores(self, query: Vectors, ids: Collection[str]) -> Vectors:
        """The exact scores of some entities for one query (dim,), float32 (n,)."""
        ...

    def best_vector(self, query: Vectors, entity_id: str) -> int:
        """Which vector of an entity is nearest to a query (dim,): its position among them, the first of equal ones."""
        ...

    def save(self, folder: Path) -> list[str]:
        """Write the files of the store into a folder; their names."""
        ...


@runtime_checkable
class TunableStore(Protocol):
    """A vector store that can search approximately, or store less than float32; see `EntityIndex.tune`."""

    @property
    def tuning(self) -> Tuning:
        """How it searches."""
        ...

    @property
    def changed(self) -> float:
        """Share of an approximate index that was added or removed since it was trained."""
        ...

    def tune(self, queries: Vectors, *, search: str, precision: str, truncate_dim: int | None) -> Tuning:
        """Choose how to search, and measure recall; the new ``tuning``."""
        ...

    def renew(self) -> Tuning | None:
        """Train an approximate index again if much of it has changed; the new ``tuning``, or None."""
        ...
