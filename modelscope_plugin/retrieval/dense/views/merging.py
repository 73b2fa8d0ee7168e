"""Merging neighbouring views into longer ones, as the code of MuVER does (Ma et al. 2021, Alibaba-NLP/MuVER)."""

from __future__ import annotations

import numpy as np

from modelscope_plugin.types import Vectors

Span = tuple[int, int]


def merge_spans(spans: list[Span], vectors: Vectors, share: float) -> tuple[list[Span], list[int]]:
    """Merge the views of one entity with their next ones, once.

    The views that are farthest from the next one are merged with it: the two say different things, of which a mention
    may need both. A view takes in the next one as both were before the round, so that merged views can overlap; one
    that holds the next one already stays as it is.

    Args:
        spans: The views of one entity as spans of its parts, in rising order of their beginnings.
        vectors: Their vectors (n, dim).
        share: ``int(n * share)`` views are merged; of equal distances the first ones.

    Returns:
        The n views afterwards, and the positions among them of the new ones.
    """
    # The squared distance, and so the order of MuVER, without the loss of digits that float32 would bring.
    distances = np.square(vectors[1:].astype(np.float64) - vectors[:-1]).sum(axis=1)
    farthest = np.argsort(-distances, kind="stable")[: int(len(spans) * share)]
    merged = list(spans)
    new = [position for position in np.sort(farthest).tolist() if spans[position + 1][1] > spans[position][1]]
    for position in new:
        merged[position] = spans[position][0], spans[position + 1][1]
    return merged, new
