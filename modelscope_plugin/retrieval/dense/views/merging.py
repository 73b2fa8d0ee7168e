"""Merging neighbouring views into longer ones: the search for the best views at index time of MuVER."""

from __future__ import annotations

import math

import numpy as np

from modelscope_plugin.types import Vectors

Span = tuple[int, int]


def merge_spans(spans: list[Span], vectors: Vectors, share: float) -> tuple[list[Span], list[int]]:
    """Merge views once.

    The distance of every two neighbours is taken, and those farthest apart are merged: they say different things, of
    which a mention may need both. No view is merged with both of its neighbours.

    Args:
        spans: Neighbouring views of one entity, in order, as spans of its parts.
        vectors: Their vectors (n, dim).
        share: Share of the pairs of neighbours to merge, rounded up; equal distances go by order.

    Returns:
        The views afterwards, in order, and the positions among them of the new ones.
    """
    gaps = np.linalg.norm(vectors[1:].astype(np.float64) - vectors[:-1], axis=1)
    left = math.ceil(share * len(gaps))
    chosen: set[int] = set()
    for pair in np.argsort(-gaps, kind="stable").tolist():
        if left and not {pair - 1, pair + 1} & chosen:
            chosen.add(pair)
            left -= 1
    following: list[Span] = []
    new: list[int] = []
    for position, span in enumerate(spans):
        if position - 1 in chosen:
            new.append(len(following) - 1)
            following[-1] = following[-1][0], span[1]
        else:
            following.append(span)
    return following, new
