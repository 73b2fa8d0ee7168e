"""The nearest entities where each has several vectors: the best of them counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from modelscope_plugin.index.vector_index import Rows, VectorIndex, Vectors
from modelscope_plugin.index.view_table import ViewTable

# Entities looked for beyond k, and the difference from which scores are surely not equal, as for one vector each.
_MARGIN = 8
_TIE = 1e-5

Score = Callable[[Vectors, Rows], Vectors]


def search_views(
    index: VectorIndex, score: Score, table: ViewTable, ids: Sequence[str], queries: Vectors, k: int
) -> tuple[Vectors, Rows]:
    """Find the ``k`` entities whose best view is nearest.

    Views are searched for more and more of them until the k-th entity is certain: k different ones are found, and
    every view not found is clearly below the best one of the last of them.

    Args:
        index: Finds the nearest vectors.
        score: The scores of a query and some views, each the same whatever it is computed together with.
        table: The views.
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
    usual = -(-len(table) // max(1, table.entities))
    wide = min((k + _MARGIN) * usual, len(table))
    while k and len(waiting):
        found_scores, found = index.search(queries[waiting], wide)
        unsure = []
        for place, query in enumerate(waiting):
            if wide < len(table) and not _is_certain(found_scores[place], table.owners[found[place]], k):
                unsure.append(query)
            else:
                scores[query], rows[query] = _ordered(queries[query], score, table, ids, found[place], k)
        waiting, wide = np.array(unsure, dtype=np.int64), min(4 * wide, len(table))
    return scores, rows


def _is_certain(scores: Vectors, owners: Rows, k: int) -> bool:
    """Whether no view behind those found can have a say in the first ``k`` entities."""
    _, first = np.unique(owners, return_index=True)
    if len(first) < k:
        return False
    kth, last = np.sort(scores[first])[-k], scores[-1]
    # Written so that overflowing scores, whose difference is no number, count as unsure.
    return bool(kth - last > _TIE * max(1.0, abs(float(kth))))


def _ordered(
    query: Vectors, score: Score, table: ViewTable, ids: Sequence[str], found: Rows, k: int
) -> tuple[Vectors, Rows]:
    """The best ``k`` entities of the views found."""
    found = np.sort(found)
    owners, first = np.unique(table.owners[found], return_index=True)
    scores = np.maximum.reduceat(score(query, found), first)
    order = sorted(range(len(owners)), key=lambda place: (-scores[place], ids[int(owners[place])]))[:k]
    return scores[order], owners[order].astype(np.int64)
