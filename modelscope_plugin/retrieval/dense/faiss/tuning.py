"""Choosing how an index is searched, and measuring what that costs in recall."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from modelscope_plugin.errors import InputError
from modelscope_plugin.retrieval.dense.entity_search import search_entities
from modelscope_plugin.retrieval.dense.faiss.approximate_index import FEWEST, PER_LIST, ApproximateIndex
from modelscope_plugin.retrieval.dense.faiss.kinds import new_codes
from modelscope_plugin.retrieval.dense.faiss.stored_vectors import StoredVectors
from modelscope_plugin.retrieval.dense.faiss.vector_index import FlatIndex, VectorIndex
from modelscope_plugin.retrieval.dense.views.table import ViewTable
from modelscope_plugin.types import RowIds, Vectors

logger = logging.getLogger(__name__)

AUTO_ENTITIES = 300_000
"""From so many entities on ``auto`` searches approximately: four times as fast as exact search there, fourteen times
with 1,000,000 (benchmarks/results/search_300000.json, search.json)."""

SEARCHES = ("exact", "approximate", "auto")
"""How an index can be searched, beside the kinds of FAISS index that `ApproximateIndex.train` takes."""

RECALL_TARGETS = {16: 0.99, 128: 0.97}
"""Share of the exact first k that a search has to find; its effort is the least that does."""

RENEW_SHARE = 0.2
"""An approximate index of which more than this share was added or removed since it was trained should be renewed."""

_KIND = re.compile(r"([^,]+,)*(IVF|HNSW)\d")
# Up to so many dimensions finer codes cost little.
_FEW_DIMENSIONS = 256
# What an approximate search finds of the exact list at a cost that still pays.
_NEARLY_ALL = 0.996
# Of what a target allows to be missed, so much on the queries that decide: others find a little less.
_RESERVE = 0.9
# More effort that finds no more than this share finds it too dearly.
_HARDLY = 0.001
# An effort this much larger than one that falls short is near enough to the least.
_FINE = 1.1
_CHUNK = 256


_TYPES = {
    **dict.fromkeys(("kind", "precision", "search"), str),
    **dict.fromkeys(("truncate_dim", "effort", "queries", "trained"), int),
    "renewed": bool,
}


class EntityVectors(NamedTuple):
    """Whose the vectors of an index are.

    Attributes:
        table: The views; None where each entity has one vector.
        ids: Ids of the entities, by row.
    """

    table: ViewTable | None
    ids: Sequence[str]

    def first(self, index: VectorIndex, queries: Vectors, k: int) -> RowIds:
        """The rows of the first ``k`` entities for each query, (m, k)."""
        parts = [
            search_entities(index, self.table, self.ids, queries[start : start + _CHUNK], k)[1]
            for start in range(0, len(queries), _CHUNK)
        ]
        return np.concatenate(parts) if parts else np.empty((0, k), dtype=np.int64)


@dataclass(frozen=True)
class Tuning:
    """How an index is searched.

    Attributes:
        kind: ``exact``, or the kind of FAISS index (`approximate_kind`).
        precision: What the vectors are stored as.
        truncate_dim: Dimensions that are kept; 0 for all.
        effort: Inverted lists (``nprobe``) or nodes of the graph (``efSearch``) that a search looks at; 0 for exact
            search.
        recall: Share of the exact first k entities that is found, by k; empty for exact search of whole float32 ones.
        queries: Queries this was measured on.
        trained: Vectors that the index was trained and filled with.
        search: What was asked for: one of `SEARCHES`, or a kind of FAISS index.
        renewed: Whether it was made again of changed vectors; recall is then measured against exact search of these as
            they are stored.
    """

    kind: str = "exact"
    precision: str = "float32"
    truncate_dim: int = 0
    effort: int = 0
    recall: dict[int, float] = field(default_factory=dict)
    queries: int = 0
    trained: int = 0
    search: str = "auto"
    renewed: bool = False

    def to_record(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self) | {"recall": {str(k): value for k, value in self.recall.items()}}

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Tuning:
        """From a JSON object.

        Raises:
            ValueError: If it is none that `to_record` makes.
        """
        try:
            recall = {int(k): float(value) for k, value in record["recall"].items()}
            tuning = cls(**{**record, "recall": recall})
            for name, kind in _TYPES.items():
                if type(getattr(tuning, name)) is not kind:
                    raise TypeError(f"{name}={getattr(tuning, name)!r} is no {kind.__name__}")
            return tuning
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"search: {error}") from None

    def __str__(self) -> str:
        parts = [f"search {self.kind}", self.precision]
        if self.truncate_dim:
            parts.append(f"{self.truncate_dim} dimensions")
        if self.recall:
            figures = ", ".join(f"@{k} {100 * value:.1f}" for k, value in self.recall.items())
            of = "the exact list" + " of what is stored" * self.renewed
            parts.append(f"recall of {of} {figures} on {self.queries} queries")
        return "; ".join(parts)


def approximate_kind(rows: int, dimension: int) -> str:
    """The kind of FAISS index that serves so many vectors best.

    Inverted lists, some 8 sqrt(n), of product-quantised codes of 4 bits for 3 dimensions (or 4, or 2; for 2 where
    there are few dimensions). With so many lists a search looks at half the vectors that sqrt(n) lists would make it
    look at for the same recall. So few vectors that all of them would be candidates are searched exactly.
    """
    if rows <= FEWEST:
        return "exact"
    lists = 2 ** int(math.log2(min(8 * math.sqrt(2 * rows), rows / PER_LIST)))
    steps = (2, 3) if dimension <= _FEW_DIMENSIONS else (3, 4, 2)
    step = next((step for step in steps if dimension % step == 0), 1)
    return f"IVF{lists},PQ{dimension // step}x4fs"


def tuned(
    vectors: Vectors, entities: EntityVectors, queries: Vectors, search: str, precision: str, truncate_dim: int | None
) -> tuple[FlatIndex | ApproximateIndex, Tuning]:
    """Store vectors in a precision, make an index for them and measure it.

    Args:
        vectors: float32 (n, dim).
        entities: Whose they are.
        queries: Queries like those to come, float32 (m, dim): one half decides the effort, the other is measured.
        search: One of `SEARCHES`, or a kind of FAISS index; ``auto`` is exact too where an approximate search misses
            `RECALL_TARGETS`.
        precision: ``float32``, ``float16`` or ``int8``.
        truncate_dim: Dimensions to keep; None for all.

    Returns:
        The index and what was chosen and measured.

    Raises:
        InputError: If a choice is not usable, or there are too few queries to measure it.
    """
    dimension = vectors.shape[1]
    check_choices(search, truncate_dim, dimension)
    kept = truncate_dim or dimension
    stored = StoredVectors(kept, precision)
    stored.add(np.ascontiguousarray(vectors[:, :kept]))
    kind = chosen_kind(search, len(entities.ids), len(vectors), kept)
    if kind == "exact" and precision == "float32" and kept == dimension:
        return FlatIndex(stored), Tuning()
    if len(queries) < 2:
        raise InputError(
            "at least 2 mentions are needed to measure recall: name a file of them (--queries), or store all "
            "dimensions in float32 and search exactly"
        )
    whole = StoredVectors(dimension)
    whole.add(vectors)
    truth = entities.first(FlatIndex(whole), queries, _largest(entities))
    queries = np.ascontiguousarray(queries[:, :kept])
    wish = Tuning(kind, precision, truncate_dim or 0, search=search)
    return _measured(stored, entities, queries, truth, wish)


def tuned_again(
    stored: StoredVectors, entities: EntityVectors, queries: Vectors, before: Tuning
) -> tuple[FlatIndex | ApproximateIndex, Tuning]:
    """Make the index of vectors that have changed anew, in the way it was made before, and measure it.

    Args:
        stored: The vectors; as they are stored, they are what recall is measured against.
        entities: Whose they are.
        queries: Queries of the dimensions that are stored, float32 (m, dim).
        before: What was chosen before.

    Returns:
        As for `tuned`.
    """
    truth = entities.first(FlatIndex(stored), queries, _largest(entities))
    kind = approximate_kind(len(stored), stored.dimension)
    wish = replace(before, kind=kind, search="approximate", renewed=True)
    if before.search not in SEARCHES and kind != "exact":
        try:
            return _measured(stored, entities, queries, truth, replace(wish, kind=before.search, search=before.search))
        except InputError as error:
            logger.warning("%s; %s is made instead", error, kind)
    index, tuning = _measured(stored, entities, queries, truth, wish)
    return index, replace(tuning, search=before.search)


def _measured(
    stored: StoredVectors, entities: EntityVectors, queries: Vectors, truth: RowIds, wish: Tuning
) -> tuple[FlatIndex | ApproximateIndex, Tuning]:
    """Make the index that is wished for, choose its effort and measure it."""
    ks = [k for k in RECALL_TARGETS if k <= len(entities.ids)]
    index: FlatIndex | ApproximateIndex = FlatIndex(stored)
    if wish.kind == "exact":
        if stored.precision == "float32" and not wish.truncate_dim:
            return index, Tuning()
        recall = {k: recall_of(entities.first(index, queries, k), truth, k) for k in ks}
        return index, replace(wish, effort=0, recall=recall, queries=len(queries), trained=0)
    deciding, right, measured = queries[::2], truth[::2], slice(1, None, 2)
    best = entities.first(index, deciding, _largest(entities))
    wanted = {k: _wanted(RECALL_TARGETS[k], recall_of(best, right, k)) for k in ks}
    index = ApproximateIndex.train(stored, wish.kind)
    reached = _reach(index, entities, deciding, right, wanted)
    if not reached and wish.search == "auto":
        return _measured(stored, entities, queries, truth, replace(wish, kind="exact"))
    recall = {k: recall_of(entities.first(index, queries[measured], k), truth[measured], k) for k in ks}
    tuning = replace(wish, effort=index.effort, recall=recall, queries=len(truth[measured]), trained=len(stored))
    if not reached:
        logger.warning("%s: that is short of the recall wanted; a finer kind, or exact search, finds more", tuning)
    return index, tuning


def check_choices(search: str, truncate_dim: int | None, dimension: int) -> None:
    """Raise `InputError` unless an index of so many dimensions can be searched so, and so many (None: all) be kept."""
    if truncate_dim is not None and not 1 <= truncate_dim <= dimension:
        raise InputError(f"truncate_dim={truncate_dim} is not between 1 and the {dimension} dimensions of the model")
    if _KIND.match(search):
        new_codes(truncate_dim or dimension, search)
    elif search not in SEARCHES:
        raise InputError(
            f"search={search!r} is none of {', '.join(SEARCHES)}, nor a kind of FAISS index with inverted lists or a "
            "graph, such as IVF4096,PQ256x4fs or HNSW32,SQ8"
        )


def chosen_kind(search: str, entities: int, rows: int, dimension: int) -> str:
    """What a search means for so many entities and vectors: ``exact`` or a kind of FAISS index."""
    if _KIND.match(search):
        return search if rows > FEWEST else "exact"
    if search == "auto":
        search = "approximate" if entities >= AUTO_ENTITIES else "exact"
    return approximate_kind(rows, dimension) if search == "approximate" else "exact"


def recall_of(found: RowIds, truth: RowIds, k: int) -> float:
    """Share of the exact first ``k`` rows (m, >= k) that are among the first ``k`` found."""
    hits = sum(np.isin(own[:k], right[:k]).sum() for own, right in zip(found, truth, strict=True))
    return float(hits / max(1, k * len(truth)))


def _largest(entities: EntityVectors) -> int:
    """The largest k whose recall is measured on so many entities."""
    return max((k for k in RECALL_TARGETS if k <= len(entities.ids)), default=0)


def _wanted(target: float, best: float) -> float:
    """The recall to aim at for a target, where exact search of what is stored has the recall ``best``.

    What precision and truncation lose, no effort brings back: where that is too much, the aim is as large a share of
    what is left.
    """
    aim = 1 - _RESERVE * (1 - target)
    return aim if best * _NEARLY_ALL >= aim else aim * best


def _reach(
    index: ApproximateIndex, entities: EntityVectors, queries: Vectors, truth: RowIds, wanted: dict[int, float]
) -> bool:
    """Set about the least effort that has the recall wanted; else the one from which more of it finds hardly more."""

    def found(effort: int) -> dict[int, float]:
        index.effort = effort
        return {k: recall_of(entities.first(index, queries, k), truth, k) for k in wanted}

    def enough(recall: dict[int, float]) -> bool:
        return all(recall[k] >= wanted[k] for k in wanted)

    effort, short = min(index.least_effort, index.most_effort), 0
    recall = found(effort)
    while not enough(recall):
        more = min(2 * effort, index.most_effort)
        gained = found(more)
        if all(gained[k] - recall[k] < _HARDLY for k in wanted):
            index.effort = effort
            return False
        effort, short, recall = more, effort, gained
    while short and effort - short > 1 and effort > _FINE * short:
        between = (effort + short) // 2
        effort, short = (between, short) if enough(found(between)) else (effort, between)
    index.effort = effort
    return True
