"""A knowledge base as a folder: vectors, entities, and a manifest that says which model they are of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from modelscope_plugin.data.identity import unique_ids
from modelscope_plugin.data.records import Entity
from modelscope_plugin.data.views import ViewSettings
from modelscope_plugin.errors import IndexFolderError, IndexMismatchError, InputError, NotFiniteError
from modelscope_plugin.files import check_output_folder, replace_folder
from modelscope_plugin.index.entity_store import STORE_FILES, StoredEntities, write_entities
from modelscope_plugin.index.manifest import (
    MANIFEST_FILE,
    Manifest,
    check_files,
    read_manifest,
    write_fitted,
    write_manifest,
)
from modelscope_plugin.index.names.lexicon import LEXICON_FILES, Lexicon
from modelscope_plugin.index.vector_index import FlatIndex, Rows, VectorIndex, Vectors
from modelscope_plugin.index.view_search import search_views
from modelscope_plugin.index.view_table import VIEW_FILES, Views, ViewTable, check_views

_VECTORS_FILE = "vectors.npy"
_FILES = (_VECTORS_FILE, *STORE_FILES)
# Reading these to check them would take as long as reading the whole index.
_LARGE_FILES = (_VECTORS_FILE, STORE_FILES[0], VIEW_FILES[0], *LEXICON_FILES)

# Rows looked at beyond k, so that equal scores around the k-th place are seen and ordered by id.
_MARGIN = 8
# Scores closer than this (relatively) count as possibly equal: float32 sums differ in their last digits.
_TIE = 1e-5


class Candidate(NamedTuple):
    """One entity found for a mention.

    Attributes:
        id: Id of the entity.
        name: Its name.
        score: What it is ranked by: the dot product of the two vectors, or a score that names are part of.
        rank: Its place among the candidates, from 1.
        dense_score: Where names were looked at too: the dot product.
        dense_rank: Its place in the dense list; None where it stands behind the end of that list.
        name_score: How much its best name is like the mention, 0 to 1.
        match: How the name is met: ``exact``, ``normalized``, ``learned`` (the words stood for the entity in a labelled
            text), ``partial``, or None.
        view: Where entities have several vectors: the text of the view that was nearest.
    """

    id: str
    name: str
    score: float
    rank: int
    dense_score: float | None = None
    dense_rank: int | None = None
    name_score: float | None = None
    match: str | None = None
    view: str | None = None

    def to_record(self) -> dict[str, Any]:
        """The candidate as a JSON object, without what is not known."""
        return {key: value for key, value in self._asdict().items() if value is not None}


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
        self._vectors: VectorIndex = FlatIndex(np.empty((0, dimension), dtype=np.float32))
        self._entities: _Entities = _Entities(None, [], [])
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
        facts = {"views": len(self._views), "bytes_per_view": 4 * self.dimension + self._views.bytes_per_view}
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
        new = [entity.id for entity in unique_ids(entities)]
        self._lexicon.release()
        self._remove([one for one in new if one in self._entities.rows])
        self._vectors.add(vectors)
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
        self._lexicon.release()
        self._remove(ids)

    def _remove(self, ids: list[str]) -> None:
        if ids:
            rows = np.array(sorted(self._entities.rows[one] for one in ids), dtype=np.int64)
            self._vectors.remove(rows if self._views is None else self._views.remove(rows))
            self._entities.delete(rows)

    def search(self, queries: Vectors, top_k: int) -> list[list[Candidate]]:
        """Find the nearest entities.

        Args:
            queries: Mention vectors, float32 (n, dim).
            top_k: How many candidates; fewer come back only where the index holds fewer.

        Returns:
            For each query its candidates, best first; equal scores are ordered by id.

        Raises:
            IndexMismatchError: If the queries have another dimension.
            InputError: If ``top_k`` is not positive.
        """
        scores, rows = self.search_rows(queries, top_k)
        return [
            [
                Candidate(self.ids[row], self[row].name, float(score), rank, view=self.best_view(query, row))
                for rank, (score, row) in enumerate(zip(found_scores, found_rows, strict=True), 1)
            ]
            for query, found_scores, found_rows in zip(queries, scores, rows.tolist(), strict=True)
        ]

    def search_rows(self, queries: Vectors, top_k: int) -> tuple[Vectors, Rows]:
        """As `search`, but as arrays.

        Returns:
            Scores (float32) and rows (int64), both of shape (n, min(top_k, entities)).
        """
        queries = self._checked(queries)
        if not hasattr(top_k, "__index__") or top_k < 1:
            raise InputError(f"top_k={top_k!r} must be at least 1")
        k = min(top_k, len(self))
        if self._views is not None:
            return search_views(self._vectors, self._scores, self._views, self.ids, queries, k)
        scores = np.empty((len(queries), k), dtype=np.float32)
        rows = np.empty((len(queries), k), dtype=np.int64)
        waiting = np.arange(len(queries))
        wide = min(k + _MARGIN, len(self))
        while k and len(waiting):
            found_scores, found_rows = self._vectors.search(queries[waiting], wide)
            unsure = []
            for place, query in enumerate(waiting):
                kth, last = found_scores[place, k - 1], found_scores[place, -1]
                # Written so that overflowing scores, whose difference is no number, count as unsure.
                if wide < len(self) and not kth - last > _TIE * max(1.0, abs(float(kth))):
                    unsure.append(query)
                else:
                    scores[query], rows[query] = self._ordered(queries[query], found_rows[place], k)
            waiting, wide = np.array(unsure, dtype=np.int64), min(4 * wide, len(self))
        return scores, rows

    def _ordered(self, query: Vectors, rows: Rows, k: int) -> tuple[Vectors, Rows]:
        """The best ``k`` of the rows found."""
        scores = self._scores(query, rows)
        order = sorted(range(len(rows)), key=lambda place: (-scores[place], self.ids[rows[place]]))[:k]
        return scores[order], rows[order]

    def _scores(self, query: Vectors, rows: Rows) -> Vectors:
        """The scores of some vectors, computed one by one so that equal vectors have equal scores."""
        scores: Vectors = np.einsum("rd,d->r", self.vectors[rows], query, dtype=np.float64).astype(np.float32)
        return scores

    @property
    def vectors(self) -> Vectors:
        """The vectors of the entities, float32 (entities, dim), by row; those of all views where they have several."""
        assert isinstance(self._vectors, FlatIndex)
        return self._vectors.vectors

    def scores(self, query: Vectors, rows: Sequence[int] | Rows) -> Vectors:
        """The scores of some entities.

        Args:
            query: A mention vector, float32 (dim,).
            rows: Rows of the entities.

        Returns:
            Float32 (n,), of each entity that of its best view.
        """
        if self._views is None or not len(rows):
            return self._scores(query, np.asarray(rows, dtype=np.int64))
        views = [self._views.rows(int(row)) for row in rows]
        starts = np.cumsum([0, *map(len, views[:-1])])
        return np.maximum.reduceat(self._scores(query, np.concatenate(views)), starts)

    def best_view(self, query: Vectors, row: int) -> str | None:
        """The text of the view of an entity that is nearest to a query, float32 (dim,); None where each has one vector.

        Of equal ones it is the first.
        """
        if self._views is None:
            return None
        views = self._views.rows(row)
        return self._views.text(self[row], views[int(self._scores(query, np.array(views)).argmax())])

    def check_model(self, fingerprint: str, name: str = "the model") -> None:
        """Raise `IndexMismatchError` unless the vectors were made by the model of that fingerprint."""
        if fingerprint != self.fingerprint:
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
        with replace_folder(folder) as draft:
            np.save(draft / _VECTORS_FILE, self.vectors)
            write_entities(draft, self)
            written = self._lexicon.save(draft)
            if self._views is not None:
                written = (*written, *self._views.save(draft))
            manifest = Manifest(
                0, len(self), self.dimension, self.model, self.fingerprint, self.max_length, "", {}, self.fitted
            )
            write_manifest(draft, manifest, (*_FILES, *written))

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
        folder = Path(folder)
        manifest = read_manifest(folder, _FILES, (*LEXICON_FILES, *VIEW_FILES))
        check_files(folder, manifest, unread=() if verify else _LARGE_FILES)
        index = cls(manifest.dimension, manifest.fingerprint, manifest.model, manifest.max_length)
        try:
            vectors = np.load(folder / _VECTORS_FILE, mmap_mode="r")
            stored = StoredEntities(folder)
            index._views = ViewTable.load(folder) if VIEW_FILES[0] in manifest.files else None
        except Exception as error:  # whatever numpy and json say of damaged bytes, a syntax error among it
            raise IndexFolderError(f"{folder} is damaged ({error}); build the index again") from None
        usable = vectors.dtype == np.float32 and vectors.flags.c_contiguous
        table = index._views
        rows, owned = (manifest.entities,) * 2 if table is None else (len(table), table.entities)
        shapes = vectors.shape == (rows, index.dimension) and len(stored) == manifest.entities == owned
        if not usable or not shapes:
            raise IndexFolderError(
                f"{folder}: vectors and entities do not match {MANIFEST_FILE}; build the index again"
            )
        index._vectors = FlatIndex(vectors)
        index._entities = _Entities(stored, list(range(len(stored))), list(stored.ids))
        index._lexicon = Lexicon(index, {name: folder / name for name in LEXICON_FILES if name in manifest.files})
        index.fitted = dict(manifest.fitted)
        return index


class _Entities:
    """The entities of an index by row: some still on disk, some added since."""

    def __init__(self, stored: StoredEntities | None, places: list[int | Entity], ids: list[str]) -> None:
        self._stored = stored
        self._places: list[Any] = places
        self.ids = ids
        self._rows: dict[str, int] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, row: int) -> Entity:
        place = self._places[row]
        if isinstance(place, Entity):
            return place
        assert self._stored is not None
        return self._stored[place]

    @property
    def rows(self) -> dict[str, int]:
        """Row by id."""
        if self._rows is None:
            self._rows = {one: row for row, one in enumerate(self.ids)}
        return self._rows

    def extend(self, entities: Sequence[Entity]) -> None:
        rows = self.rows
        rows.update((entity.id, row) for row, entity in enumerate(entities, len(self)))
        self._places += entities
        self.ids += [entity.id for entity in entities]

    def delete(self, rows: Rows) -> None:
        gone = set(rows.tolist())
        self._places = [place for row, place in enumerate(self._places) if row not in gone]
        self.ids = [one for row, one in enumerate(self.ids) if row not in gone]
        self._rows = None
