"""A knowledge base with the vectors of its entities, searchable, and its folder."""

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
from modelscope_plugin.retrieval.dense.faiss.store import FaissStore
from modelscope_plugin.retrieval.dense.store import TunableStore
from modelscope_plugin.retrieval.dense.tuning import Tuning
from modelscope_plugin.retrieval.dense.views.table import ViewRows, ViewTable
from modelscope_plugin.retrieval.fitted import Fitted
from modelscope_plugin.retrieval.guard import ReadWriteGuard
from modelscope_plugin.retrieval.index_folder import FolderState, IndexParts, read_folder_state, read_index, write_index
from modelscope_plugin.retrieval.knowledge_base import KnowledgeBase
from modelscope_plugin.retrieval.lexical.lexicon import Lexicon
from modelscope_plugin.retrieval.manifest import Manifest, write_fitted
from modelscope_plugin.retrieval.quality import Quality
from modelscope_plugin.types import RowIds, Vectors


class EntityIndex:
    """A knowledge base with the vectors of its entities, searchable by dot product.

    Threads can share an index: a change waits until searches under way have ended, and those that come later wait for
    it. Rows change with `remove`; what is asked for by rows in several calls belongs into ``with index.guard.read()``.

    Args:
        dimension: Size of the vectors.
        fingerprint: Fingerprint of the model that makes the vectors (`EntityEncoder.fingerprint`).
        model: Folder or hub id of that model; ``link`` loads it from there.
        max_length: Tokens of the window that the entity texts were cut to; 0 where it is not known.
        views: How many vectors an entity has, and how their scores become its score.

    Attributes:
        guard: Keeps changes and searches of several threads apart.
        fitted: What was fitted for the index on labelled mentions.
        quality: How good vectors and names are (`measure_quality`), for hybrid retrieval where nothing was fitted; None
            where it was not measured.
        seconds_per_view: Seconds that encoding a vector took, where entities have several and some were just added.
        folder: The folder that the index was read from; None for one made here.
    """

    def __init__(
        self, dimension: int, fingerprint: str, model: str = "", max_length: int = 0, views: ViewSettings | None = None
    ) -> None:
        self.dimension = dimension
        self.fingerprint = fingerprint
        self.model = model
        self.max_length = max_length
        self.guard = ReadWriteGuard()
        self.fitted = Fitted()
        self.quality: Quality | None = None
        self.seconds_per_view: float | None = None
        self.folder: Path | None = None
        self._state: FolderState | None = None
        knowledge_base = KnowledgeBase()
        table = ViewTable(views)
        store = FaissStore(dimension, knowledge_base.id_table, table.settings.sum_temperature)
        self._parts = IndexParts(knowledge_base, Lexicon(knowledge_base), store, table)

    def __len__(self) -> int:
        return len(self.knowledge_base)

    def __getitem__(self, row: int) -> Entity:
        """The entity of a row."""
        return self.knowledge_base[row]

    def __iter__(self) -> Iterator[Entity]:
        return iter(self.knowledge_base)

    def __contains__(self, entity_id: object) -> bool:
        return entity_id in self.knowledge_base

    @property
    def knowledge_base(self) -> KnowledgeBase:
        """The entities."""
        return self._parts.knowledge_base

    @property
    def ids(self) -> list[str]:
        """Ids of the entities, by row."""
        return self.knowledge_base.ids

    def row_of(self, entity_id: str) -> int:
        """The row of an id; a KeyError where there is none."""
        return self.knowledge_base.row_of(entity_id)

    @property
    def lexicon(self) -> Lexicon:
        """The names of the entities, searchable; they are kept in step with `add` and `remove`."""
        return self._parts.lexicon

    @property
    def view_settings(self) -> ViewSettings:
        """How many vectors an entity has."""
        return self._parts.views.settings

    @property
    def view_facts(self) -> dict[str, Any]:
        """Where entities have several vectors: ``views``, ``bytes_per_view``, just built also ``seconds_per_view``."""
        views, store = self._parts.views, self._parts.store
        if not views.has_several:
            return {}
        facts = {"views": len(views), "bytes_per_view": store.bytes_per_vector + views.bytes_per_view}
        return facts if self.seconds_per_view is None else {**facts, "seconds_per_view": self.seconds_per_view}

    def add(self, entities: Sequence[Entity], vectors: Vectors, views: ViewRows | None = None) -> None:
        """Add entities; those of an id that is already there are replaced.

        Args:
            entities: The entities.
            vectors: Their vectors, float32 (n, dim); those of their views in an index that has several of an entity.
            views: In such an index the views: position of the entity among ``entities``, and the span of its parts,
                int32 (n, 3).

        Raises:
            IndexMismatchError: If the vectors have another dimension.
            InputError: If there are not as many vectors as entities or views, an id stands twice among them, or
                a vector holds a value that is not finite.
        """
        vectors = self._check_vectors(vectors, copy=True)
        parts = self._parts
        owners = parts.views.owners(views, len(entities), len(vectors))
        ids = [entity.id for entity in check_unique_ids(entities)]
        with self.guard.write():
            # First what may refuse the vectors.
            parts.store.add([ids[owner] for owner in owners], vectors)
            parts.lexicon.release()
            parts.views.replace(parts.knowledge_base.rows_of([one for one in ids if one in self]), views)
            parts.knowledge_base.add(entities)

    def remove(self, ids: Iterable[str]) -> None:
        """Remove entities.

        Args:
            ids: Their ids.

        Raises:
            InputError: If an id is not in the index; nothing is removed then.
        """
        parts = self._parts
        with self.guard.write():
            ids = parts.knowledge_base.check_ids(ids)
            parts.lexicon.release(ids)
            parts.views.replace(parts.knowledge_base.rows_of(ids), None)
            parts.store.remove(ids)
            parts.knowledge_base.remove(ids)

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
        with self.guard.read():
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
        queries = self._check_vectors(queries)
        top_k = check_integer("top_k", top_k, least=1)
        with self.guard.read():
            scores, ids = self._parts.store.search(queries, min(top_k, len(self)), exact=exact)
            return scores, self.knowledge_base.rows_of([one for found in ids for one in found]).reshape(scores.shape)

    @property
    def vectors(self) -> Vectors:
        """The vectors of the entities, float32 (entities, kept dimensions), by row; of all views where there are."""
        return self._parts.store.vectors

    def scores(self, query: Vectors, rows: Sequence[int] | RowIds) -> Vectors:
        """The exact scores of some entities, whatever searches the index.

        Args:
            query: A mention vector, float32 (dim,).
            rows: Rows of the entities.

        Returns:
            Float32 (n,), of an entity with several views that of the best one, or of all (``view_scores``).
        """
        return self._parts.store.scores(query, self.knowledge_base.id_table.ids_at(np.asarray(rows).tolist()))

    def best_view(self, query: Vectors, row: int) -> str | None:
        """The text of the view of an entity that is nearest to a query, float32 (dim,); None where each has one vector.

        Of equal ones it is the first.
        """
        views, store = self._parts.views, self._parts.store
        return views.text(self[row], row, store.best_vector(query, self.ids[row])) if views.has_several else None

    @property
    def tuning(self) -> Tuning:
        """How the index is searched; see `tune`."""
        return self._tunable().tuning

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
        queries = self._check_vectors(queries, copy=True)
        with self.guard.write():
            return self._tunable().tune(queries, search=search, precision=precision, truncate_dim=truncate_dim)

    @property
    def changed(self) -> float:
        """Share of an approximate index that was added or removed since it was trained; 0 for exact search."""
        return self._tunable().changed

    def renew(self) -> Tuning | None:
        """Train an approximate index again if too much of it has changed (see `RENEW_SHARE`).

        Recall is measured on the same queries as before, against exact search over the vectors as they are stored.

        Returns:
            What was chosen and measured; None where nothing had to be done.
        """
        with self.guard.write():
            return self._tunable().renew()

    def _tunable(self) -> TunableStore:
        store = self._parts.store
        if not isinstance(store, TunableStore):
            raise InputError(f"how a {type(store).__name__} searches cannot be chosen here")
        return store

    def check_model(self, fingerprint: str, name: str = "the model") -> None:
        """Raise `IndexMismatchError` unless the model of that fingerprint made the vectors; see `is_same_model`."""
        if not is_same_model(self.fingerprint, fingerprint):
            raise IndexMismatchError(
                f"the index was built with another model ({self.model or 'unnamed'}, fingerprint {self.fingerprint}) "
                f"than {name} (fingerprint {fingerprint}); use that model or build the index again"
            )

    def _check_vectors(self, vectors: Vectors, *, copy: bool = False) -> Vectors:
        """The vectors as C-contiguous float32, or an exception that says why they cannot be used."""
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
            quality=self.quality,
        )
        with self.guard.read():
            write_index(Path(folder), manifest, self._parts)

    def save_fitted(self, folder: str | Path) -> None:
        """Write what was fitted (`fitted`) into the folder that this index was read from; nothing else changes there.

        Args:
            folder: The folder.
        """
        write_fitted(Path(folder), self.fitted)

    @classmethod
    def load(cls, folder: str | Path, *, verify: bool | None = None) -> EntityIndex:
        """Open an index folder; vectors and entities stay on disk, memory-mapped.

        Args:
            folder: The folder.
            verify: Whether to check the checksums of all files, which reads all of them, about a second for 500 MB;
                by default of an index of up to 256 MB. The size of every file and the checksums of the small ones are
                always checked, and so is what the arrays hold, vectors when they are first searched.

        Returns:
            The index.

        Raises:
            MissingFileError: If there is no index in the folder.
            IndexFolderError: If a file of it is missing or damaged, or was written by a newer version.
        """
        manifest, parts, state = read_index(Path(folder), verify=verify)
        index = cls(manifest.dimension, manifest.fingerprint, manifest.model, manifest.max_length)
        index._parts, index.fitted, index.quality = parts, manifest.fitted, manifest.quality
        index.folder, index._state = Path(folder), state
        return index

    @property
    def is_current(self) -> bool:
        """False if the folder that the index was read from holds another one by now, or none."""
        return self.folder is not None and read_folder_state(self.folder) == self._state
