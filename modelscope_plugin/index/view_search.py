"""The nearest entities where each has several vectors: the best of them counts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from modelscope_plugin.index.vector_index import Rows, VectorIndex, Vectors
from modelscope_plugin.index.view_table import ViewTable

# Entities looked for beyond k, and the difference from which scores are surely not equal, as for one vector each.
_MARGIN = 8
_TIE = 1e-5


def search_views(
    index: VectorIndex, vectors: Vectors, table: ViewTable, ids: Sequence[str], queries: Vectors, k: int
) -> tuple[Vectors, Rows, Rows]:
    """Find the ``k`` entities whose best view is nearest.

    Views are searched for more and more of them until the k-th entity is certain: k different ones are found, and
    every view not found is clearly below the best one of the last of them.

    Args:
        index: Finds the nearest vectors.
        vectors: The vectors, by row of their view.
        table: The views.
        ids: Ids of the entities; equal scores are ordered by id.
        queries: Mention vectors (n, dim).
        k: How many, at most as many as there are.

    Returns:
        Scores (float32), rows of entities and rows of their best views, all of shape (n, k). Of equal views of an
        entity the first is the best.
    """
    scores = np.empty((len(queries), k), dtype=np.float32)
    rows, best = np.empty((len(queries), k), dtype=np.int64), np.empty((len(queries), k), dtype=np.int64)
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
                scores[query], rows[query], best[query] = _ordered(queries[query], vectors, table, ids, found[place], k)
        waiting, wide = np.array(unsure, dtype=np.int64), min(4 * wide, len(table))
    return scores, rows, best


def _is_certain(scores: Vectors, owners: Rows, k: int) -> bool:
    """Whether no view behind those found can have a say in the first ``k`` entities."""
    _, first = np.unique(owners, return_index=True)
    if len(first) < k:
        return False
    kth, last = np.sort(scores[first])[-k], scores[-1]
    # Written so that overflowing scores, whose difference is no number, count as unsure.
    return bool(kth - last > _TIE * max(1.0, abs(float(kth))))


def _ordered(
    query: Vectors, vectors: Vectors, table: ViewTable, ids: Sequence[str], found: Rows, k: int
) -> tuple[Vectors, Rows, Rows]:
    """The best ``k`` entities of the views found, scored one by one so that equal vectors have equal scores."""
    found = np.sort(found)
    scores = np.einsum("rd,d->r", vectors[found], query, dtype=np.float64).astype(np.float32)
    owners = table.owners[found]
    best: dict[int, int] = {}
    for place, owner in enumerate(owners.tolist()):
        # Written so that the first view stays where a score is no number.
        if owner not in best or scores[place] > scores[best[owner]]:
            best[owner] = place
    order = sorted(best, key=lambda owner: (-scores[best[owner]], ids[owner]))[:k]
    places = [best[owner] for owner in order]
    return scores[places], np.array(order, dtype=np.int64), found[places]
