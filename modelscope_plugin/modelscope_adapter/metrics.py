"""Recall@k as a ModelScope metric."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from modelscope.metrics.base import Metric
from modelscope.metrics.builder import METRICS

from modelscope_plugin.config.evaluation_settings import DEFAULT_KS, check_ks
from modelscope_plugin.config.metainfo import Metrics
from modelscope_plugin.errors import InputError
from modelscope_plugin.evaluation.recall import find_first_hit, mean_reciprocal_rank, recall_at_k
from modelscope_plugin.modelscope_adapter.registration import register_class


@register_class(METRICS, "default", Metrics.entity_recall)
class EntityRecallMetric(Metric):
    """Recall@k and mean reciprocal rank (MRR) of rankings that are added batch by batch.

    Args:
        k: The values of k.
        **kwargs: What ModelScope passes to every metric.
    """

    def __init__(self, k: Iterable[int] = DEFAULT_KS, **kwargs: Any) -> None:
        super().__init__()
        self.ks = check_ks(k)
        self._hits: list[int | None] = []

    def add(
        self, outputs: Mapping[str, Sequence[Sequence[str]]], inputs: Mapping[str, Sequence[Sequence[str]]]
    ) -> None:
        """Add the results of a batch.

        Args:
            outputs: ``ranking``: for each mention the ids of its candidates, best first.
            inputs: ``entity_ids``: for each mention its gold ids.

        Raises:
            InputError: If there are not as many rankings as mentions.
        """
        rankings, golds = outputs["ranking"], inputs["entity_ids"]
        if len(rankings) != len(golds):
            raise InputError(f"{len(rankings)} rankings for {len(golds)} mentions")
        self._hits += [find_first_hit(ranking, gold) for ranking, gold in zip(rankings, golds, strict=True)]

    def evaluate(self) -> dict[str, float]:
        """Compute the figures over all batches: ``recall@4``, ..., ``mrr``."""
        figures = {f"recall@{k}": value for k, value in recall_at_k(self._hits, self.ks).items()}
        return figures | {"mrr": mean_reciprocal_rank(self._hits)}

    def merge(self, other: EntityRecallMetric) -> None:
        """Add the results of the metric of another process."""
        self._hits += other._hits

    def __getstate__(self) -> tuple[list[int], list[int | None]]:
        return self.ks, self._hits

    def __setstate__(self, state: tuple[list[int], list[int | None]]) -> None:
        self.ks, self._hits = state
