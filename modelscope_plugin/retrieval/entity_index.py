"""A knowledge base as a folder: vectors, entities, and a manifest that says which model they are of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from modelscope_plugin.checks import check_integer
from modelscope_plugin.data.identity import check_unique_ids
from modelscope_plugin.data.records import Entity
from modelscope_plugin.data.views import ViewSettings
from modelscope_plugin.errors import IndexMismatchError, InputError, NotFiniteError
from modelscope_plugin.modeling.fingerprint import is_same_model
from modelscope_plugin.retrieval.candidate import Candidate
from modelscope_plugin.retrieval.dense.entity_search import entity_scores, search_entities
from modelscope_plugin.retrieval.dense.faiss.searched_vectors import SearchedVectors
from modelscope_plugin.retrieval.dense.faiss.tuning import EntityVectors, Tuning
from modelscope_plugin.retrieval.dense.views.table import Views, ViewTable, check_views
from modelscope_plugin.retrieval.index_folder import read_parts, write_parts
from modelscope_plugin.retrieval.knowledge_base.entity_rows import EntityRows
from modelscope_plugin.retrieval.lexical.lexicon import Lexicon
from modelscope_plugin.retrieval.manifest import MANIFEST_FILE, Manifest, write_fitted
from modelscope_plugin.storage.files import check_output_folder, replace_folder
from modelscope_plugin.types import RowIds, Vectors


class EntityIndex:
    """The vectors of a knowledge base, searchable by dot product, with its entities.

    Args:
        dimension: Size of the vectors.
        fingerprint: Fingerprint of the model that makes the vectors (`EntityEncoder.fingerprint`).
        model: Where that model is, a folder or a hub id; ``link`` loads it from there.
        max_length: Tokens of the window that the entity texts were cut to; 0 where it is not known.
        views: How many vectors an entity has; the score of an entity is that of its best one.

    Attributes:
        seconds_per_view: What encoding a vector took, where entities have several and some were added just now.
    """

    def __init__(
        self, dimension: int, fingerprint: str, model: str = "", max_length: int = 0, views: ViewSettings | None = None
    ) -> None:
        self.dimension = dimension
        self.fingerprint = fingerprint
        self.model = model
        self.max_length = max_length
        self._vectors = SearchedVectors(dimension)
        self._entities = EntityRows()
        self._lexicon = Lexicon(self)
        self.fitted: dict[str, Any] = {}
        self._views = ViewTable(views) if views is not None and views.max_views > 1 else None
        self.seconds_per_view: float | None = None

    def __len__(self) -> int:
        return len(self._entities)

    def __getitem__(self, row: int) -> Entity:
        """The entity of a row."""
        return self._entities[row]

    def __iter__(self) -> Iterator[Entity]:
        return (self[row] for row in range(len(self)))

    @property
    def ids(self) -> list[str]:
        """Ids of the entities, by row."""
        return self._entities.ids

    @property
    def row_of(self) -> dict[str, int]:
        """Row by id."""
        return self._entities.rows

    @property
    def lexicon(self) -> Lexicon:
        """The names of the entities, searchable; they are kept in step with `add` and `remove`."""
        return self._lexicon

    @property
    def view_settings(self) -> ViewSettings:
        """How many vectors an entity has."""
        return ViewSettings() if self._views is None else self._views.settings

    @property
    def view_facts(self) -> dict[str, Any]:
        """Where entities have several vectors: ``views``, ``bytes_per_view``, just built also ``seconds_per_view``."""
        if self._views is None:
            return {}
        stored = self._vectors.stored.bytes_per_vector
        facts = {"views": len(self._views), "bytes_per_view": stored + self._views.bytes_per_view}
        return facts if self.seconds_per_view is None else {**facts, "seconds_per_view": self.seconds_per_view}

    def add(self, entities: Sequence[Entity], vectors: Vectors, views: Views | None = None) -> None:
        """Add entities; those of an id that is already there are replaced.

        Args:
            entities: The entities.
            vectors: Their vectors, float32 (n, dim); those of their views in an index that has several of an entity.
            views: There the views: place of the entity among ``entities``, and the span of its parts, int32 (n, 3).

        Raises:
            IndexMismatchError: If the vectors have another dimension.
            InputError: If there are not as many vectors as entities or views, an id stands twice among them, or
                a vector holds a value that is not finite.
        """
        vectors = self._checked(vectors, copy=True)
        if (views is None) != (self._views is None):
            raise InputError("views are needed for an index of several vectors per entity, and for no other")
        if len(entities if views is None else views) != len(vectors):
            kind, count = ("entities", len(entities)) if views is None else ("views", len(views))
            raise InputError(f"{count} {kind} and {len(vectors)} vectors; each needs one")
        if views is not None:
            check_views(views, len(entities))
        new = [entity.id for entity in check_unique_ids(entities)]
        # First what may refuse the vectors; rows that are there already keep their places.
        self._vectors.index.add(self._vectors.cut(vectors))
        self._lexicon.release()
        self._remove([one for one in new if one in self._entities.rows])
        if self._views is not None and views is not None:
            self._views.add(views)
        self._entities.extend(entities)

    def remove(self, ids: Iterable[str]) -> None:
        """Take entities out.

        Args:
            ids: Their ids.

        Raises:
            InputError: If an id is not in the index.
        """
        ids = list(dict.fromkeys(ids))
        missing = [one for one in ids if one not in self._entities.rows]
        if missing:
            raise InputError(f"no entity {missing[0]!r} in the index ({len(missing)} of {len(ids)} ids are not there)")
        self._lexicon.release(ids)
        self._remove(ids)

    def _remove(self, ids: list[str]) -> None:
        if ids:
            rows = np.array(sorted(self._entities.rows[one] for one in ids), dtype=np.int64)
            self._vectors.index.remove(rows if self._views is None else self._views.remove(rows))
            self._entities.delete(rows)

    def search(self, queries: Vectors, top_k: int, *, exact: bool = False) -> list[list[Candidate]]:
        """Find the nearest entities.

        Args:
            queries: Mention vectors, float32 (n, dim).
            top_k: How many candidates; fewer come back only where the index holds fewer.
            exact: Whether to search exactly also where `tune` chose otherwise.

        Returns:
            For each query its candidates, best first; equal scores are ordered by id.

        Raises:
            IndexMismatchError: If the queries have another dimension.
            InputError: If ``top_k`` is not positive.
        """
        scores, rows = self.search_rows(queries, top_k, exact=exact)
        return [
            [
                Candidate(self.ids[row], self[row].name, float(score), rank, view=self.best_view(query, row))
                for rank, (score, row) in enumerate(zip(found_scores, found_rows, strict=True), 1)
            ]
            for query, found_scores, found_rows in zip(queries, scores, rows.tolist(), strict=True)
        ]

    def search_rows(self, queries: Vectors, top_k: int, *, exact: bool = False) -> tuple[Vectors, RowIds]:
        """As `search`, but as arrays.

        Returns:
            Scores (float32) and rows (int64), both of shape (n, min(top_k, entities)).
        """
        queries = self._checked(queries)
        k = min(check_integer("top_k", top_k, least=1), len(self))
        index = self._vectors.exact if exact else self._vectors.index
        return search_entities(index, self._views, self.ids, self._vectors.cut(queries), k)

    @property
    def vectors(self) -> Vectors:
        """The vectors of the entities, float32 (entities, kept dimensions), by row; of all views where there are."""
        return self._vectors.stored[:]

    def scores(self, query: Vectors, rows: Sequence[int] | RowIds) -> Vectors:
        """The exact scores of some entities, whatever searches the index.

        Args:
            query: A mention vector, float32 (dim,).
            rows: RowIds of the entities.

        Returns:
            Float32 (n,), of each entity that of its best view.
        """
        return entity_scores(
            self._vectors.stored, self._views, self._vectors.cut(query), np.asarray(rows, dtype=np.int64)
        )

    def best_view(self, query: Vectors, row: int) -> str | None:
        """The text of the view of an entity that is nearest to a query, float32 (dim,); None where each has one vector.

        Of equal ones it is the first.
        """
        if self._views is None:
            return None
        views = self._views.rows(row)
        scores = self._vectors.stored.scores(self._vectors.cut(query), np.array(views))
        return self._views.text(self[row], views[int(scores.argmax())])

    @property
    def tuning(self) -> Tuning:
        """How the index is searched; see `tune`."""
        return self._vectors.tuning

    def tune(
        self, queries: Vectors, *, search: str = "auto", precision: str = "float32", truncate_dim: int | None = None
    ) -> Tuning:
        """Choose how the index is searched, and measure the recall that it costs.

        What was fitted (`fitted`) was so for other scores where precision or dimensions change: fit it afterwards.

        Args:
            queries: Vectors of mentions like those to come, float32 (m, dim). One half decides how much an
                approximate search looks at, recall against exact search is measured on the other.
            search: ``exact``, ``approximate``, or ``auto`` for the faster of the two at this size that
                finds nearly all (`RECALL_TARGETS`); or a kind of FAISS index with
                inverted lists or an HNSW graph, as its ``index_factory`` names it.
            precision: What the vectors are stored as: ``float32``, ``float16`` or ``int8``.
            truncate_dim: Dimensions to keep, of a model that was trained for it; None for all.

        Returns:
            What was chosen and measured; also `EntityIndex.tuning`.

        Raises:
            InputError: If a choice is not usable, the vectors are no longer whole, or there are fewer than 2 queries
                to measure it on.
        """
        return self._vectors.tune(
            EntityVectors(self._views, self.ids),
            self._checked(queries, copy=True),
            search=search,
            precision=precision,
            truncate_dim=truncate_dim,
        )

    @property
    def changed(self) -> float:
        """Share of an approximate index that was added or removed since it was trained; 0 for exact search."""
        return self._vectors.changed

    def renew(self) -> Tuning | None:
        """Train an approximate index again if too much of it has changed (see `RENEW_SHARE`).

        Recall is measured on the same queries as before, against exact search over the vectors as they are stored.

        Returns:
            What was chosen and measured; None where nothing had to be done.
        """
        return self._vectors.renew(EntityVectors(self._views, self.ids))

    def check_model(self, fingerprint: str, name: str = "the model") -> None:
        """Raise `IndexMismatchError` unless the model of that fingerprint made the vectors; see `is_same_model`."""
        if not is_same_model(self.fingerprint, fingerprint):
            raise IndexMismatchError(
                f"the index was built with another model ({self.model or 'unnamed'}, fingerprint {self.fingerprint}) "
                f"than {name} (fingerprint {fingerprint}); use that model or build the index again"
            )

    def _checked(self, vectors: Vectors, *, copy: bool = False) -> Vectors:
        """The vectors as C-contiguous float32, or an exception that says why they are not of use."""
        if vectors.ndim != 2 or vectors.shape[1] != self.dimension:
            raise IndexMismatchError(
                f"vectors of shape {vectors.shape} do not fit the index of dimension {self.dimension}; "
                "they are of another model"
            )
        with np.errstate(over="ignore"):
            checked = np.array(vectors, dtype=np.float32, order="C", copy=copy or None)
        if not np.isfinite(checked).all():
            raise NotFiniteError("a vector holds NaN or infinity; the model that made it is damaged or overflowed")
        return checked

    def save(self, folder: str | Path) -> None:
        """Write the index into a folder, whole or not at all.

        Args:
            folder: The folder; an earlier index in it is replaced.

        Raises:
            InputError: If the folder holds something other than an index.
        """
        folder = Path(folder)
        check_output_folder(folder, MANIFEST_FILE)
        manifest = Manifest(
            version=0,
            entities=len(self),
            dimension=self.dimension,
            model=self.model,
            fingerprint=self.fingerprint,
            max_length=self.max_length,
            created="",
            files={},
            search={} if self.tuning == Tuning() else self.tuning.to_record(),
            fitted=self.fitted,
        )
        with replace_folder(folder) as draft:
            write_parts(draft, manifest, self, self._vectors, self._views, self._lexicon)

    def save_fitted(self, folder: str | Path) -> None:
        """Write what was fitted (`fitted`) into the folder that this index was read from; nothing else changes there.

        Args:
            folder: The folder.
        """
        write_fitted(Path(folder), self.fitted)

    @classmethod
    def load(cls, folder: str | Path, *, verify: bool = False) -> EntityIndex:
        """Open an index folder; vectors and entities stay on disk, memory-mapped.

        Args:
            folder: The folder.
            verify: Whether to check the checksum of the vectors too, which reads all of them. The size
                of every file and the checksums of the small ones are always checked.

        Returns:
            The index.

        Raises:
            MissingFileError: If there is no index in the folder.
            IndexFolderError: If a file of it is missing or damaged, or was written by a newer version.
        """
        parts = read_parts(Path(folder), verify=verify)
        manifest = parts.manifest
        index = cls(manifest.dimension, manifest.fingerprint, manifest.model, manifest.max_length)
        index._vectors, index._views = parts.vectors, parts.views
        index._entities = EntityRows(parts.entities)
        index._lexicon = Lexicon(index, parts.names)
        index.fitted = dict(manifest.fitted)
        return index
