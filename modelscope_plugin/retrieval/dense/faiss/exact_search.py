"""Exact search: every vector is compared with every query."""

from __future__ import annotations

from typing import Any

import numpy as np

from modelscope_plugin.retrieval.dense.faiss.threads import for_each
from modelscope_plugin.retrieval.dense.faiss.vector_matrix import VectorMatrix
from modelscope_plugin.types import RowIds, Vectors

FEWEST_FOR_PRODUCT = 16
"""From so many queries on a matrix product is fastest; FAISS itself goes through the vectors for each query."""
# Rows multiplied at once, so that their scores stay in the processor's cache; rows and scores kept before the best of
# them are taken.
_BLOCK, _ROWS, _SCORES = 2048, 65536, 1 << 22
# Up to so many queries the product with the vectors on the left is faster.
_NARROW = 64


def search_exact(queries: Vectors, vectors: VectorMatrix, k: int) -> tuple[Vectors, RowIds]:
    """Find the rows of largest dot product.

    FAISS multiplies matrices too, but how large its blocks are is decided for the whole process; here products are made
    in blocks that suit the number of queries, and FAISS's heaps keep the best.

    Args:
        queries: float32 (n, dim).
        vectors: The rows.
        k: How many, at most as many as there are.

    Returns:
        Scores and rows, both (n, k), best first.
    """
    import faiss

    count = len(queries)
    if vectors.precision == "float32" and count < FEWEST_FOR_PRODUCT:
        return faiss.knn(queries, vectors[:], k, metric=faiss.METRIC_INNER_PRODUCT)
    best = np.empty((count, k), dtype=np.float32)
    rows = np.empty((count, k), dtype=np.int64)
    if not best.size:
        return best, rows
    heaps: Any = faiss.float_minheap_array_t()
    heaps.nh, heaps.k, heaps.val, heaps.ids = count, k, faiss.swig_ptr(best), faiss.swig_ptr(rows)
    heaps.heapify()
    width = min(len(vectors), _ROWS, max(_BLOCK, _SCORES // count))
    scores = np.empty((count, width), dtype=np.float32)
    for start in range(0, len(vectors), width):
        end = min(start + width, len(vectors))
        for first in range(start, end, _BLOCK):
            block = vectors[first : min(first + _BLOCK, end)]
            part = scores[:, first - start : first - start + len(block)]
            with np.errstate(over="ignore", invalid="ignore"):
                if count > _NARROW:
                    np.matmul(queries, block.T, out=part)
                else:
                    part[:] = (block @ queries.T).T

        # One query at a time: FAISS's own threads and those of the product would wait for each other.
        def keep_best(query: int, size: int = end - start, offset: int = start) -> None:
            heaps.addn(size, faiss.swig_ptr(scores[query]), offset, query, 1)

        for_each(keep_best, count)
    heaps.reorder()
    return best, rows
