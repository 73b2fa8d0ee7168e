"""Decides whether a mention has an entity at all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from modelscope_plugin.checks import check_number
from modelscope_plugin.errors import InputError
from modelscope_plugin.retrieval.candidate import Candidate
from modelscope_plugin.retrieval.entity_index import EntityIndex
from modelscope_plugin.retrieval.fitted import NilWeights, fit_nil_command
from modelscope_plugin.retrieval.retriever import Ranking

NO_CANDIDATE = "no candidate"
"""Why a mention has no entity if retrieval finds nothing."""


@dataclass(frozen=True)
class NilRule(NilWeights):
    """Says that a mention has no entity (NIL) if the confidence in its best candidate lies below a threshold.

    The confidence, 0 to 1, is the logistic function of ``bias + dense * dot product + names * likeness of names`` for
    the best candidate, after re-ranking also ``+ rerank * score of the re-ranker + probability * probability``; its
    weights and the threshold are fitted on labelled mentions, some of which have no entity.

    Its attributes are those of `NilWeights`.
    """

    def confidence(self, features: Sequence[float]) -> float:
        """Compute the confidence in a candidate, 0 to 1.

        Args:
            features: Dot product and likeness of names of the candidate; after re-ranking, also the re-ranker's score
                and the candidate's probability.

        Returns:
            The confidence.
        """
        weights = (self.dense, self.names, self.rerank, self.probability)
        logit = self.bias + sum(weight * feature for weight, feature in zip(weights, features, strict=False))
        return 0.5 * (1 + math.tanh(logit / 2))

    def predicts_nil(self, features: Sequence[float] | None) -> bool:
        """Return True if a mention has no entity, by the features of its best candidate; None if it has none."""
        return features is None or self.confidence(features) < self.threshold

    def judge(self, candidates: Sequence[Candidate]) -> tuple[bool, float, str]:
        """Decide whether a mention has no entity.

        Args:
            candidates: Its candidates, best first.

        Returns:
            True if it has none; the confidence in the best candidate; the reason if it has none, else an empty text.
        """
        if not candidates:
            return True, 0.0, NO_CANDIDATE
        features = self._read_features(candidates[0])
        confidence = self.confidence(features)
        if not self.predicts_nil(features):
            return False, confidence, ""
        return True, confidence, f"confidence {confidence:.3f} is below the threshold {self.threshold:.3f}"

    def _read_features(self, candidate: Candidate) -> tuple[float, ...]:
        """Return the features of a candidate, 0 for what retrieval does not compute."""
        dense = candidate.score if self.retrieval == "dense" and not self.reranker else candidate.dense_score
        features = (dense or 0.0, candidate.name_score or 0.0)
        return (*features, candidate.rerank_score or 0.0, candidate.probability or 0.0) if self.reranker else features

    @classmethod
    def of_index(
        cls, index: EntityIndex, retrieval: str, threshold: float | None = None, reranker: str | None = None
    ) -> NilRule | None:
        """Return the rule that was fitted for an index and a retrieval.

        Args:
            index: The index.
            retrieval: The retrieval.
            threshold: Replaces the fitted threshold, 0 to 1.
            reranker: Fingerprint of the re-ranker; None for retrieval alone.

        Returns:
            The rule; None if none was fitted for that retrieval and that re-ranker.

        Raises:
            InputError: If the threshold is not between 0 and 1, or no rule was fitted.
            IndexFolderError: If the rule is damaged.
        """
        weights = index.fitted.get_nil(retrieval, reranker)
        if weights is None:
            if threshold is None:
                return None
            raise InputError(
                f"nil_threshold={threshold} needs a confidence, which is not fitted for {retrieval} retrieval"
                f"{' and this re-ranker' if reranker else ''}; fit it with: "
                f"{fit_nil_command(retrieval, is_reranked=reranker is not None)}"
            )
        rule = cls(**asdict(weights))
        if threshold is None:
            return rule
        return replace(rule, threshold=check_number("nil_threshold", threshold, least=0, most=1))


def ranking_features(ranking: Ranking) -> tuple[float, ...] | None:
    """Return dot product and likeness of names of the best candidate of a ranking; None if it is empty."""
    return (float(ranking.dense[0]), float(ranking.likeness[0])) if len(ranking.rows) else None
