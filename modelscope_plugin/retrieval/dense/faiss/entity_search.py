"""The nearest entities by their vectors, however many an entity has."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from modelscope_plugin.retrieval.dense.faiss.approximate_index import ApproximateIndex
from modelscope_plugin.retrieval.dense.faiss.exact_search import search_exact
from modelscope_plugin.retrieval.dense.faiss.owners import VectorOwners
from modelscope_plugin.retrieval.dense.faiss.threads import map_shares
from modelscope_plugin.retrieval.dense.faiss.vector_matrix import VectorMatrix
from modelscope_plugin.retrieval.knowledge_base import IdTable
from modelscope_plugin.types import RowIds, Vectors

# Entities searched for beyond k, so that equal scores around the k-th rank are seen and ordered by id.
_MARGIN = 8
# Scores closer than this (relatively) count as possibly equal: float32 sums differ in their last digits.
_TIE = 1e-5
# Queries whose ranking is worth a thread.
_SHARE = 8
# Queries searched at once by `search_in_parts`.
_QUERIES = 256
# Vectors that are found at once, for all queries together: where scores are summed over many views at a high
# temperature, nearly all vectors can have a say.
_FOUND = 1 << 24


@dataclass(frozen=True)
class EntitySearch:
    """Finds the nearest entities.

    Attributes:
        vectors: The vectors.
        owners: Maps each vector to the entity it represents.
        ids: Ids of the entities; equal scores are ordered by id.
        approximate: An approximate index of the vectors; None for exact search.
        temperature: The score of an entity is ``temperature * log(sum(exp(score / temperature)))`` over all its
            vectors; 0 for the limit, which is the largest score. That orders entities as a softmax over all vectors of
            the index, summed over those of an entity, does: the denominator is the same for all entities and left out.
    """

    vectors: VectorMatrix
    owners: VectorOwners
    ids: IdTable
    approximate: ApproximateIndex | None = None
    temperature: float = 0.0

    def search(self, queries: Vectors, k: int) -> tuple[Vectors, RowIds]:
        """Find the ``k`` entities of the largest scores.

        More and more vectors are searched for until the k-th entity is certain: k different ones are found, and no
        entity that the search did not bring can come to the score of the last of them, even if all its vectors stand
        right behind the last one found. All entities found are then scored anew by all their vectors, since a search
        may have passed over some of them. So a score never depends on ``k`` or on what else is found, and with exact
        search the ranking is that of comparing all vectors; an approximate search can miss an entity, no more.

        Args:
            queries: float32 (n, stored dimensions).
            k: How many, at most as many as there are.

        Returns:
            Scores (float32) and rows of entities, both (n, k).
        """
        scores = np.empty((len(queries), k), dtype=np.float32)
        rows = np.empty((len(queries), k), dtype=np.int64)
        count = len(self.vectors)
        # How far the score of an entity can be above that of its best vector.
        lead = self.temperature * math.log(self.owners.most)

        def search_some(some: RowIds, wide: int) -> RowIds:
            """Search for some of the queries; those whose k-th entity is uncertain."""
            all_scores, all_rows = self._search_vectors(queries[some], wide)

            def rank_share(share: slice) -> RowIds:
                certain = np.ones(share.stop - share.start, dtype=bool)
                for at in range(share.start, share.stop):
                    found_scores, entities = all_scores[at], self.owners.entities_of(all_rows[at])
                    limit = float(found_scores[-1]) + lead
                    if not self.owners.has_one_each:
                        entities = np.unique(entities)
                    # Only the scores of an approximate search are those of `scores`, equal for equal vectors.
                    if self.approximate is None or not self.owners.has_one_each:
                        found_scores = self.scores(queries[some[at]], entities)
                    if wide == count or _is_certain(found_scores, k, limit):
                        scores[some[at]], rows[some[at]] = self._first(found_scores, entities, k)
                    else:
                        certain[at - share.start] = False
                return some[share][~certain]

            return np.concatenate(map_shares(rank_share, len(some), _SHARE))

        open_queries = np.arange(len(queries))
        # The vectors of one entity are alike and found together.
        wide = min((k + _MARGIN) * -(-count // max(1, len(self.owners))), count)
        while k and len(open_queries):
            at_once = max(1, _FOUND // wide)
            parts = [open_queries[at : at + at_once] for at in range(0, len(open_queries), at_once)]
            open_queries = np.concatenate([search_some(part, wide) for part in parts])
            wide = min(4 * wide, count)
        return scores, rows

    def search_in_parts(self, queries: Vectors, k: int) -> RowIds:
        """The rows of the first ``k`` entities for many queries, (n, k)."""
        parts = [self.search(queries[at : at + _QUERIES], k)[1] for at in range(0, len(queries), _QUERIES)]
        return np.concatenate([np.empty((0, k), dtype=np.int64), *parts])

    def scores(self, query: Vectors, entities: RowIds) -> Vectors:
        """The exact scores of some entities for a query (stored dimensions,), float32 (n,)."""
        vectors, begins = self.owners.vectors_of(entities)
        scores = self.vectors.scores(query, vectors)
        if self.owners.has_one_each or not len(scores):
            return scores
        best: Vectors = np.maximum.reduceat(scores, begins)
        if not self.temperature:
            return best
        behind = scores.astype(np.float64) - np.repeat(best, np.diff(begins, append=len(scores)))
        shares = np.add.reduceat(np.exp(behind / self.temperature), begins)
        return (best + self.temperature * np.log(shares)).astype(np.float32)

    def _search_vectors(self, queries: Vectors, k: int) -> tuple[Vectors, RowIds]:
        if self.approximate is None:
            return search_exact(queries, self.vectors, k)
        return self.approximate.search(queries, k)

    def _first(self, scores: Vectors, entities: RowIds, k: int) -> tuple[Vectors, RowIds]:
        """The best ``k`` of the entities found, with their scores."""
        order = np.argsort(-scores, kind="stable")
        best = scores[order[: k + 1]]
        if (best[1:] == best[:-1]).any():
            ids = [self.ids.ids[row] for row in entities[order].tolist()]
            keys = zip((-scores[order]).tolist(), ids, order.tolist(), strict=True)
            order = np.array([position for _, _, position in sorted(keys)], dtype=np.int64)
        return scores[order[:k]], entities[order[:k]]


def _is_certain(scores: Vectors, k: int, limit: float) -> bool:
    """True if no entity whose score is at most ``limit`` can enter the first ``k`` of those found."""
    if len(scores) < k:
        return False
    kth = float(np.partition(scores, -k)[-k])
    return kth - limit > _TIE * max(1.0, abs(kth))
