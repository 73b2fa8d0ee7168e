"""Exact search: every vector is compared with every query."""

from __future__ import annotations

from typing import Any

import numpy as np

from modelscope_plugin.retrieval.dense.faiss.threads import for_each
from modelscope_plugin.retrieval.dense.faiss.vector_matrix import LARGEST_SCORE, VectorMatrix
from modelscope_plugin.types import RowIds, Vectors

# Scores that are held at once, and the fewest and most rows that they may be of.
_SCORES, _LEAST_ROWS, _MOST_ROWS = 1 << 22, 16384, 65536
# Up to so many queries are compared one by one with so many rows at a time, which the processor's cache holds; more are
# faster as a matrix product.
_FEW, _SHARE = 16, 512


def search_exact(queries: Vectors, vectors: VectorMatrix, k: int) -> tuple[Vectors, RowIds]:
    """Find the rows of largest dot product.

    FAISS could do it all, but how large its blocks are is a setting of the whole process. So products are made here, in
    blocks that stay in memory, and FAISS's heaps keep the best.

    Args:
        queries: float32 (n, dim).
        vectors: The rows.
        k: How many, at most as many as there are.

    Returns:
        Scores and rows, both (n, k), best first.
    """
    import faiss

    best = np.empty((len(queries), k), dtype=np.float32)
    rows = np.empty((len(queries), k), dtype=np.int64)
    if not best.size:
        return best, rows
    heaps: Any = faiss.float_minheap_array_t()
    heaps.nh, heaps.k, heaps.val, heaps.ids = len(queries), k, faiss.swig_ptr(best), faiss.swig_ptr(rows)
    heaps.heapify()
    width = min(_MOST_ROWS, max(_LEAST_ROWS, _SCORES // len(queries)))
    for start in range(0, len(vectors), width):
        scores = multiply(queries, vectors, slice(start, start + width))
        heaps.addn(scores.shape[1], faiss.swig_ptr(scores), start, 0, len(queries))
    heaps.reorder()
    return best, rows


def multiply(queries: Vectors, vectors: VectorMatrix, part: slice) -> Vectors:
    """The dot products of queries with some rows, float32 (n, rows); those that overflow are cut off."""
    block = vectors[part]
    if len(queries) <= _FEW:
        scores = _multiply_few(queries, block)
    else:
        with np.errstate(over="ignore", invalid="ignore"):
            scores = queries @ block.T
    if not np.isfinite(scores).all():
        vectors.check_finite(part)
        exact = queries.astype(np.float64) @ block.T.astype(np.float64)
        scores = exact.clip(-LARGEST_SCORE, LARGEST_SCORE).astype(np.float32)
    return scores


def _multiply_few(queries: Vectors, block: Vectors) -> Vectors:
    import faiss

    scores = np.empty((len(queries), len(block)), dtype=np.float32)

    def multiply_share(number: int) -> None:
        rows = block[number * _SHARE : (number + 1) * _SHARE]
        for query, own in zip(queries, scores, strict=True):
            found = own[number * _SHARE : number * _SHARE + len(rows)]
            faiss.fvec_inner_products_ny(  # type: ignore[attr-defined]
                faiss.swig_ptr(found), faiss.swig_ptr(query), faiss.swig_ptr(rows), rows.shape[1], len(rows)
            )

    for_each(multiply_share, -(-len(block) // _SHARE))
    return scores
