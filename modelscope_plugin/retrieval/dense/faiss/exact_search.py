"""Exact search: every vector is compared with every query."""

from __future__ import annotations

from typing import Any

import numpy as np

from modelscope_plugin.retrieval.dense.faiss.threads import map_shares
from modelscope_plugin.retrieval.dense.faiss.vector_matrix import LARGEST_SCORE, VectorMatrix
from modelscope_plugin.types import RowIds, Vectors

# Rows that are compared at once: what stays in the processor's cache.
_BLOCK = 1024
# Up to so many queries are compared one by one; more are faster as a matrix product.
_FEW = 8


def search_exact(queries: Vectors, vectors: VectorMatrix, k: int) -> tuple[Vectors, RowIds]:
    """Find the rows of largest dot product.

    FAISS could do it all, but how large its blocks are is a setting of the whole process. So blocks are made here, and
    FAISS multiplies them and keeps the best.

    Args:
        queries: float32 (n, dim).
        vectors: The rows.
        k: How many, at most as many as there are.

    Returns:
        Scores and rows, both (n, k), best first.
    """
    import faiss

    product = _product_of(queries) if len(queries) > _FEW else None

    def search_share(share: slice) -> tuple[Vectors, RowIds]:
        kept = min(k, share.stop - share.start)
        best = np.empty((len(queries), kept), dtype=np.float32)
        rows = np.empty((len(queries), kept), dtype=np.int64)
        heaps: Any = faiss.float_minheap_array_t()
        heaps.nh, heaps.k, heaps.val, heaps.ids = len(queries), kept, faiss.swig_ptr(best), faiss.swig_ptr(rows)
        heaps.heapify()
        for start in range(share.start, share.stop, _BLOCK):
            part = slice(start, min(start + _BLOCK, share.stop))
            block = vectors[part]
            scores = _compare_few(queries, block) if product is None else np.ascontiguousarray(product.apply(block).T)
            if not np.isfinite(scores).all():
                vectors.check_finite(part)
                exact = queries.astype(np.float64) @ block.T.astype(np.float64)
                scores = exact.clip(-LARGEST_SCORE, LARGEST_SCORE).astype(np.float32)
            heaps.addn(len(block), faiss.swig_ptr(scores), start, 0, len(queries))
        heaps.reorder()
        return best, rows

    if not k or not len(queries):
        return np.empty((len(queries), k), dtype=np.float32), np.empty((len(queries), k), dtype=np.int64)
    # The rows are put together here where they are not, and not by each thread.
    found = map_shares(search_share, len(vectors.numbers), _BLOCK)
    scores, rows = (np.concatenate(parts, axis=1) for parts in zip(*found, strict=True))
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, best, axis=1), np.take_along_axis(rows, best, axis=1)


def _product_of(queries: Vectors) -> Any:
    """A product with the queries as FAISS makes it: its ``apply`` gives (rows, n) for vectors (rows, dim)."""
    import faiss

    product: Any = faiss.LinearTransform(queries.shape[1], len(queries), False)
    faiss.copy_array_to_vector(queries.ravel(), product.A)
    product.is_trained = True
    return product


def _compare_few(queries: Vectors, block: Vectors) -> Vectors:
    """The dot products of queries with some rows, one query after another, (n, rows)."""
    import faiss

    scores = np.empty((len(queries), len(block)), dtype=np.float32)
    for query, own in zip(queries, scores, strict=True):
        faiss.fvec_inner_products_ny(  # type: ignore[attr-defined]
            faiss.swig_ptr(own), faiss.swig_ptr(query), faiss.swig_ptr(block), block.shape[1], len(block)
        )
    return scores
