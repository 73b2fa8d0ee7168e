"""Exact search: every vector is compared with every query."""

from __future__ import annotations

from typing import Any

import numpy as np

from modelscope_plugin.retrieval.dense.faiss.threads import for_each
from modelscope_plugin.retrieval.dense.faiss.vector_matrix import LARGEST_SCORE, VectorMatrix
from modelscope_plugin.types import RowIds, Vectors

# Rows of a matrix product, and those that a thread takes where there is none: the former are many, since the threads of
# a product wait for each other at its end.
_BLOCK, _SHARE = 16384, 2048
# Rows and scores kept before the best of them are taken.
_ROWS, _SCORES = 65536, 1 << 22
# Up to so many queries, each is multiplied with each vector alone; up to so many, a matrix product is faster with the
# vectors on its left.
_FEW, _NARROW = 4, 64


def search_exact(queries: Vectors, vectors: VectorMatrix, k: int) -> tuple[Vectors, RowIds]:
    """Find the rows of largest dot product.

    FAISS could do it all, but how large its blocks are is a setting of the whole process. So products are made here, in
    blocks that suit the number of queries, and FAISS's heaps keep the best.

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
    width = min(len(vectors), _ROWS, max(_BLOCK, _SCORES // len(queries)))
    scores = np.empty((len(queries), width), dtype=np.float32)
    for start in range(0, len(vectors), width):
        size = min(width, len(vectors) - start)
        _multiply(queries, vectors, start, scores[:, :size])

        # One query at a time: FAISS's own threads and those of the product would wait for each other.
        def keep_best(query: int, start: int = start, size: int = size) -> None:
            heaps.addn(size, faiss.swig_ptr(scores[query]), start, query, 1)

        for_each(keep_best, len(queries))
    heaps.reorder()
    return best, rows


def _multiply(queries: Vectors, vectors: VectorMatrix, start: int, scores: Vectors) -> None:
    """Fill in the scores of all queries with the rows from ``start`` on, (n, rows)."""
    is_few = len(queries) <= _FEW
    size = _SHARE if is_few else _BLOCK

    def multiply(number: int) -> None:
        first = number * size
        part = scores[:, first : first + size]
        block = vectors[start + first : start + first + part.shape[1]]
        with np.errstate(over="ignore", invalid="ignore"):
            if is_few:
                for query, own in zip(queries, part, strict=True):
                    np.vecdot(block, query, out=own)
            elif len(queries) <= _NARROW:
                part[:] = (block @ queries.T).T
            else:
                np.matmul(queries, block.T, out=part)
            if not np.isfinite(part).all():
                vectors.check_finite(slice(start + first, start + first + part.shape[1]))
                exact = queries.astype(np.float64) @ block.T.astype(np.float64)
                part[:] = exact.clip(-LARGEST_SCORE, LARGEST_SCORE)

    blocks = -(-scores.shape[1] // size)
    if is_few:
        for_each(multiply, blocks)
    else:  # the product has threads of its own
        for number in range(blocks):
            multiply(number)
