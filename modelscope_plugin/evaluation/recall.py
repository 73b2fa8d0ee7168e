"""Computes Recall@k and the mean reciprocal rank from rankings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from modelscope_plugin.config.evaluation_settings import check_ks
from modelscope_plugin.errors import InputError


def find_first_hit(ranking: Sequence[str], gold: Iterable[str]) -> int | None:
    """Find the rank, from 1, of the first gold entity in a ranking; None if there is none."""
    wanted = set(gold)
    return next((rank for rank, entity_id in enumerate(ranking, 1) if entity_id in wanted), None)


def recall_at_k(first_hits: Sequence[int | None], ks: Iterable[int]) -> dict[int, float]:
    """Compute the share of mentions with a gold entity among the first k candidates.

    Args:
        first_hits: For each mention the rank of its first gold entity, or None.
        ks: The values of k.

    Returns:
        Recall, 0 to 1, by k in rising order.

    Raises:
        InputError: If there is no mention, or a k is not positive.
    """
    if not first_hits:
        raise InputError("no mention to measure recall on")
    ks = check_ks(ks)
    return {k: sum(hit is not None and hit <= k for hit in first_hits) / len(first_hits) for k in ks}


def mean_reciprocal_rank(first_hits: Sequence[int | None]) -> float:
    """Compute the mean of 1 / rank of the first gold entity, which counts as 0 if there is none.

    Raises:
        InputError: If there is no mention.
    """
    if not first_hits:
        raise InputError("no mention to measure the reciprocal rank on")
    return sum(1 / hit for hit in first_hits if hit is not None) / len(first_hits)
