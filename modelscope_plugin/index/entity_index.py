"""A knowledge base as a folder: vectors, entities, and a manifest that says which model they are of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from modelscope_plugin.data.identity import unique_ids
from modelscope_plugin.data.records import Entity
from modelscope_plugin.errors import IndexFolderError, IndexMismatchError, InputError, NotFiniteError
from modelscope_plugin.files import check_output_folder, replace_folder
from modelscope_plugin.index.approximate_index import ROWS_FILE, SEARCH_FILE, ApproximateIndex
from modelscope_plugin.index.entity_store import STORE_FILES, StoredEntities, write_entities
from modelscope_plugin.index.manifest import MANIFEST_FILE, Manifest, check_files, read_manifest, write_manifest
from modelscope_plugin.index.stored_vectors import SCALES_FILE, VECTORS_FILE, Rows, StoredVectors, Vectors
from modelscope_plugin.index.tuning import RENEW_SHARE, Tuning, tuned, tuned_again
from modelscope_plugin.index.vector_index import FlatIndex

_QUERIES_FILE = "queries.npy"
_FILES = (VECTORS_FILE, *STORE_FILES)
_TUNING_FILES = (SCALES_FILE, SEARCH_FILE, ROWS_FILE, _QUERIES_FILE)
# Reading these to check them would take as long as reading the whole index.
_LARGE_FILES = (VECTORS_FILE, STORE_FILES[0])

# Rows looked at beyond k, so that equal scores around the k-th place are seen and ordered by id.
_MARGIN = 8
# Scores closer than this (relatively) count as possibly equal: float32 sums differ in their last digits.
_TIE = 1e-5


class Candidate(NamedTuple):
    """One entity found for a mention.

    Attributes:
        id: Id of the entity.
        name: Its name.
        score: Dot product of the two vectors.
        rank: Its place among the candidates, from 1.
    """

    id: str
    name: str
    score: float
    rank: int


class EntityIndex:
    """The vectors of a knowledge base, searchable by dot product, with its entities.

    Args:
        dimension: Size of the vectors.
        fingerprint: Fingerprint of the model that makes the vectors (`EntityEncoder.fingerprint`).
        model: Where that model is, a folder or a hub id; ``link`` loads it from there.
        max_length: Tokens of the window that the entity texts were cut to; 0 where it is not known.
    """

    def __init__(self, dimension: int, fingerprint: str, model: str = "", max_length: int = 0) -> None:
        self.dimension = dimension
        self.fingerprint = fingerprint
        self.model = model
        self.max_length = max_length
        self.tuning = Tuning()
        self._vectors: FlatIndex | ApproximateIndex = FlatIndex(StoredVectors(dimension))
        self._queries: Vectors = np.empty((0, dimension), dtype=np.float32)
        self._entities: _Entities = _Entities(None, [], [])

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

    def add(self, entities: Sequence[Entity], vectors: Vectors) -> None:
        """Add entities; those of an id that is already there are replaced.

        Args:
            entities: The entities.
            vectors: Their vectors, float32 (n, dim).

        Raises:
            IndexMismatchError: If the vectors have another dimension.
            InputError: If there are not as many vectors as entities, an id stands twice among them, or
                a vector holds a value that is not finite.
        """
        vectors = self._checked(vectors, copy=True)
        if len(entities) != len(vectors):
            raise InputError(f"{len(entities)} entities and {len(vectors)} vectors; each entity needs one")
        new = [entity.id for entity in unique_ids(entities)]
        self._remove([one for one in new if one in self._entities.rows])
        self._vectors.add(self._cut(vectors))
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
        self._remove(ids)

    def _remove(self, ids: list[str]) -> None:
        if ids:
            rows = np.array(sorted(self._entities.rows[one] for one in ids), dtype=np.int64)
            self._vectors.remove(rows)
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
                Candidate(self.ids[row], self[row].name, float(score), rank)
                for rank, (score, row) in enumerate(zip(found_scores, found_rows, strict=True), 1)
            ]
            for found_scores, found_rows in zip(scores, rows.tolist(), strict=True)
        ]

    def search_rows(self, queries: Vectors, top_k: int, *, exact: bool = False) -> tuple[Vectors, Rows]:
        """As `search`, but as arrays.

        Returns:
            Scores (float32) and rows (int64), both of shape (n, min(top_k, entities)).
        """
        queries = self._cut(self._checked(queries))
        searched = FlatIndex(self._vectors.stored) if exact else self._vectors
        if not hasattr(top_k, "__index__") or top_k < 1:
            raise InputError(f"top_k={top_k!r} must be at least 1")
        k = min(top_k, len(self))
        scores = np.empty((len(queries), k), dtype=np.float32)
        rows = np.empty((len(queries), k), dtype=np.int64)
        waiting = np.arange(len(queries))
        wide = min(k + _MARGIN, len(self))
        while k and len(waiting):
            found_scores, found_rows = searched.search(queries[waiting], wide)
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
        """The best ``k`` of the rows found, scored one by one so that equal vectors have equal scores."""
        scores = self._scores(query, rows)
        order = np.argsort(-scores, kind="stable")
        ordered = scores[order[: k + 1]]
        if (ordered[1:] == ordered[:-1]).any():
            order = np.array(sorted(range(len(rows)), key=lambda place: (-scores[place], self.ids[rows[place]])))
        return scores[order[:k]], rows[order[:k]]

    def _scores(self, query: Vectors, rows: Rows) -> Vectors:
        vectors = self._vectors.stored[rows]
        scores: Vectors = np.einsum("rd,d->r", vectors, query, dtype=np.float64).astype(np.float32)
        return scores

    def scores(self, query: Vectors, rows: Sequence[int] | Rows) -> Vectors:
        """Dot products of one query, float32 (dim,), with the vectors of some rows, float32 (n,)."""
        return self._scores(self._cut(query), np.asarray(rows, dtype=np.int64))

    @property
    def vectors(self) -> Vectors:
        """The vectors of the entities, float32 (entities, dim), by row; of those truncated what is left."""
        return self._vectors.stored[:]

    def _cut(self, vectors: Vectors) -> Vectors:
        """Vectors (..., dim) without the dimensions that are not kept."""
        return np.ascontiguousarray(vectors[..., : self._vectors.stored.dimension])

    def tune(
        self, queries: Vectors, *, search: str = "auto", precision: str = "float32", truncate_dim: int | None = None
    ) -> Tuning:
        """Choose how the index is searched, and measure the recall that it costs.

        Args:
            queries: Vectors of mentions like those to come, float32 (m, dim). One half decides how much an
                approximate search looks at, recall against exact search is measured on the other.
            search: ``exact``; ``approximate``, for the kind of FAISS index that suits the size; ``auto`` for the
                faster of the two; or a kind that FAISS's ``index_factory`` knows, such as ``HNSW32,SQ8``.
            precision: What the vectors are stored as: ``float32``, ``float16`` or ``int8``.
            truncate_dim: Dimensions to keep, of a model that was trained for it; None for all.

        Returns:
            What was chosen and measured; also `EntityIndex.tuning`.

        Raises:
            InputError: If a choice is not usable, or there are fewer than 2 queries to measure it on.
        """
        vectors, queries = self.vectors, self._checked(queries, copy=True)
        self._vectors, self.tuning = tuned(vectors, queries, search, precision, truncate_dim)
        self._queries = queries if self.tuning.kind != "exact" else queries[:0]
        return self.tuning

    @property
    def changed(self) -> float:
        """Share of an approximate index that was added or removed since it was trained; 0 for exact search."""
        if not isinstance(self._vectors, ApproximateIndex):
            return 0.0
        added = self._vectors.held - self.tuning.trained
        return (added + self._vectors.held - len(self)) / max(1, self.tuning.trained)

    def renew(self) -> Tuning | None:
        """Train an approximate index again if too much of it has changed (see `RENEW_SHARE`).

        Recall is measured on the same queries as before, against exact search over the vectors as they are stored.

        Returns:
            What was chosen and measured; None where nothing had to be done.
        """
        if self.changed <= RENEW_SHARE:
            return None
        self._vectors, self.tuning = tuned_again(self._vectors.stored, self._cut(self._queries), self.tuning)
        return self.tuning

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
            files = [*self._vectors.stored.save(draft), *STORE_FILES]
            write_entities(draft, self)
            if isinstance(self._vectors, ApproximateIndex):
                np.save(draft / _QUERIES_FILE, self._queries)
                files += [*self._vectors.save(draft), _QUERIES_FILE]
            search = {} if self.tuning == Tuning() else self.tuning.to_record()
            manifest = Manifest(
                0, len(self), self.dimension, self.model, self.fingerprint, self.max_length, "", {}, search
            )
            write_manifest(draft, manifest, files)

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
        manifest = read_manifest(folder, _FILES, _TUNING_FILES)
        check_files(folder, manifest, unread=() if verify else _LARGE_FILES)
        index = cls(manifest.dimension, manifest.fingerprint, manifest.model, manifest.max_length)
        try:
            index._open_vectors(folder, manifest)
            stored = StoredEntities(folder)
        except Exception as error:  # whatever numpy and json say of damaged bytes, a syntax error among it
            raise IndexFolderError(f"{folder} is damaged ({error}); build the index again") from None
        if len(stored) != manifest.entities:
            raise IndexFolderError(
                f"{folder}: vectors and entities do not match {MANIFEST_FILE}; build the index again"
            )
        index._entities = _Entities(stored, list(range(len(stored))), list(stored.ids))
        return index

    def _open_vectors(self, folder: Path, manifest: Manifest) -> None:
        self.tuning = Tuning.from_record(manifest.search) if manifest.search else Tuning()
        kept = self.tuning.truncate_dim or self.dimension
        stored = StoredVectors.load(folder, self.tuning.precision, manifest.entities, kept)
        self._vectors = FlatIndex(stored)
        if self.tuning.kind != "exact":
            self._vectors = ApproximateIndex.load(folder, stored)
            self._queries = np.load(folder / _QUERIES_FILE)


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
