"""The nearest entities, whatever searches their vectors and however many an entity has."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from modelscope_plugin.retrieval.dense.faiss.stored_vectors import StoredVectors
from modelscope_plugin.retrieval.dense.faiss.vector_index import VectorIndex
from modelscope_plugin.retrieval.dense.views.table import ViewTable
from modelscope_plugin.types import RowIds, Vectors

# Entities looked for beyond k, so that equal scores around the k-th place are seen and ordered by id.
_MARGIN = 8
# Scores closer than this (relatively) count as possibly equal: float32 sums differ in their last digits.
_TIE = 1e-5


def search_entities(
    index: VectorIndex, table: ViewTable | None, ids: Sequence[str], queries: Vectors, k: int
) -> tuple[Vectors, RowIds]:
    """Find the ``k`` entities whose vector, or best view, is nearest.

    More and more vectors are searched for until the k-th entity is certain: k different ones are found, and every
    vector that the search did not bring is clearly below the best one of the last of them. All entities found are then
    scored anew by all their vectors, since an approximate search may have passed over the best one.

    Args:
        index: Finds the nearest vectors.
        table: The views; None where each entity has one vector.
        ids: Ids of the entities; equal scores are ordered by id.
        queries: Mention vectors (n, dim).
        k: How many, at most as many as there are.

    Returns:
        Scores (float32) and rows of entities, both of shape (n, k).
    """
    scores = np.empty((len(queries), k), dtype=np.float32)
    rows = np.empty((len(queries), k), dtype=np.int64)
    waiting = np.arange(len(queries))
    # Views of one entity are alike and found together.
    usual = 1 if table is None else -(-len(table) // max(1, table.entities))
    wide = min((k + _MARGIN) * usual, len(index))
    while k and len(waiting):
        all_scores, all_rows = index.search(queries[waiting], wide)
        unsure = []
        for query, found_scores, found in zip(waiting, all_scores, all_rows, strict=True):
            owners = found if table is None else table.owners[found].astype(np.int64)
            if wide < len(index) and not _is_certain(found_scores, owners, k, distinct=table is None):
                unsure.append(query)
                continue
            if table is not None or not index.scores_row_by_row:
                owners = np.unique(owners)
                found_scores = entity_scores(index.stored, table, queries[query], owners)
            scores[query], rows[query] = _first(found_scores, owners, ids, k)
        waiting, wide = np.array(unsure, dtype=np.int64), min(4 * wide, len(index))
    return scores, rows


def _is_certain(scores: Vectors, owners: RowIds, k: int, *, distinct: bool) -> bool:
    """Whether no vector behind those found, best first, can have a say in the first ``k`` entities."""
    first = np.arange(len(owners)) if distinct else np.sort(np.unique(owners, return_index=True)[1])
    if len(first) < k:
        return False
    kth, last = scores[first[k - 1]], scores[-1]
    # Written so that overflowing scores, whose difference is no number, count as unsure.
    return bool(kth - last > _TIE * max(1.0, abs(float(kth))))


def entity_scores(stored: StoredVectors, table: ViewTable | None, query: Vectors, rows: RowIds) -> Vectors:
    """The exact scores of some entities, float32 (n,), each that of its vector or best view.

    Args:
        stored: The vectors.
        table: The views; None where each entity has one vector.
        query: A query of the dimensions that are stored, (dim,).
        rows: RowIds of the entities (n,).
    """
    if table is None or not len(rows):
        return stored.scores(query, rows)
    views, starts = table.rows_of(rows)
    return np.maximum.reduceat(stored.scores(query, views), starts)


def _first(scores: Vectors, found: RowIds, ids: Sequence[str], k: int) -> tuple[Vectors, RowIds]:
    """The best ``k`` of the entities found, with their scores."""
    order = np.argsort(-scores, kind="stable")
    best = scores[order[: k + 1]]
    if (best[1:] == best[:-1]).any():
        keys = zip((-scores[order]).tolist(), map(ids.__getitem__, found[order].tolist()), order.tolist(), strict=True)
        order = np.array([place for _, _, place in sorted(keys)], dtype=np.int64)
    return scores[order[:k]], found[order[:k]]
