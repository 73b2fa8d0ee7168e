"""Whether a mention has an entity at all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import numpy.typing as npt

from modelscope_plugin.checks import check_number
from modelscope_plugin.errors import InputError
from modelscope_plugin.retrieval.candidate import Candidate
from modelscope_plugin.retrieval.entity_index import EntityIndex
from modelscope_plugin.retrieval.fitted import NilWeights, fit_nil_command
from modelscope_plugin.retrieval.retriever import Ranking

_RIDGE = 1e-3


@dataclass(frozen=True)
class NilRule(NilWeights):
    """A mention has no entity where the confidence in its best candidate lies below a threshold.

    The confidence, 0 to 1, is the logistic function of ``bias + dense * dot product + names * likeness of names`` for
    the best candidate; its weights and the threshold are fitted on labelled mentions, some of which have no entity.
    Its attributes are those of `NilWeights`.
    """

    def confidence(self, features: tuple[float, float]) -> float:
        """The confidence in a candidate of that dot product and likeness."""
        logit = self.bias + self.dense * features[0] + self.names * features[1]
        return 0.5 * (1 + math.tanh(logit / 2))

    def judge(self, candidates: Sequence[Candidate]) -> tuple[bool, float, str]:
        """Say whether a mention has no entity.

        Args:
            candidates: Its candidates, best first.

        Returns:
            Whether it has none, the confidence in the best candidate, and the reason where it has none.
        """
        if not candidates:
            return True, 0.0, NO_CANDIDATE
        confidence = self.confidence(candidate_features(candidates[0], self.retrieval))
        if confidence >= self.threshold:
            return False, confidence, ""
        return True, confidence, f"confidence {confidence:.3f} is below the threshold {self.threshold:.3f}"

    @classmethod
    def of_index(cls, index: EntityIndex, retrieval: str, threshold: float | None = None) -> NilRule | None:
        """The rule that was fitted for an index and a retrieval.

        Args:
            index: The index.
            retrieval: The retrieval.
            threshold: Another threshold, 0 to 1, in place of the fitted one.

        Returns:
            The rule; None where there is none for that retrieval.

        Raises:
            InputError: If a threshold is given that is no share, or there is no rule to give it to.
            IndexFolderError: If the rule is damaged.
        """
        weights = index.fitted.get_nil(retrieval)
        if weights is None:
            if threshold is None:
                return None
            raise InputError(
                f"nil_threshold={threshold} needs a confidence, which is not fitted for {retrieval} retrieval; fit it "
                f"with: {fit_nil_command(retrieval)}"
            )
        rule = cls(**asdict(weights))
        if threshold is None:
            return rule
        return replace(rule, threshold=check_number("nil_threshold", threshold, least=0, most=1))

    def keep(self, index: EntityIndex) -> None:
        """Keep the rule in an index (`EntityIndex.fitted`), beside those for other retrievals."""
        index.fitted = index.fitted.with_nil(self)


NO_CANDIDATE = "no candidate"
"""The reason where nothing was found."""


def candidate_features(candidate: Candidate, retrieval: str) -> tuple[float, float]:
    """The dot product and the likeness of a candidate, 0 where the retrieval does not know them."""
    dense = candidate.score if retrieval == "dense" else candidate.dense_score
    return dense or 0.0, candidate.name_score or 0.0


def ranking_features(ranking: Ranking) -> tuple[float, float] | None:
    """The same of the best candidate of a ranking; None where it is empty."""
    return (float(ranking.dense[0]), float(ranking.likeness[0])) if len(ranking.rows) else None


def fit_nil_rule(
    features: Sequence[tuple[float, float] | None],
    nil: Sequence[bool],
    retrieval: str,
    *,
    precision: float | None = None,
) -> NilRule:
    """Fit a rule on labelled mentions.

    A logistic regression gives the confidence. The threshold is the one of best F1 of saying NIL, or of best recall
    among those whose precision is at least the one wanted; mentions without a candidate count as said to be NIL.

    Args:
        features: For each mention the dot product and likeness of its best candidate; None where it has none.
        nil: Whether the mention has no entity by its label.
        retrieval: The retrieval that found them.
        precision: The precision wanted, 0 to 1; None for the best F1.

    Returns:
        The rule.

    Raises:
        InputError: If there is no NIL mention or no other, or the precision is reached nowhere.
    """
    known = [(one, label) for one, label in zip(features, nil, strict=True) if one is not None]
    labels = np.array([label for _, label in known], dtype=bool)
    if labels.all() or not labels.any():
        raise InputError(
            f"{int(labels.sum())} NIL and {int((~labels).sum())} other mentions with candidates; a NIL rule needs both"
        )
    values = np.array([one for one, _ in known], dtype=np.float64)
    dense, names, bias = _logistic(values, ~labels)
    rule = NilRule(retrieval, dense, names, bias, 0.0)
    confidences = np.array([rule.confidence(one) for one, _ in known])
    without = np.array([label for one, label in zip(features, nil, strict=True) if one is None], dtype=bool)
    threshold = _threshold(confidences, labels, without, precision)
    return replace(rule, threshold=threshold)


def _logistic(values: npt.NDArray[np.float64], linkable: npt.NDArray[np.bool_]) -> tuple[float, float, float]:
    """The two weights and the bias of a logistic regression, lightly held back so that they stay finite."""
    from scipy.optimize import minimize

    middle, width = values.mean(axis=0), values.std(axis=0)
    width[width < 1e-9] = 1.0
    inputs = np.column_stack([(values - middle) / width, np.ones(len(values))])
    signs = np.where(linkable, 1.0, -1.0)

    def loss(weights: npt.NDArray[np.float64]) -> float:
        return float(np.logaddexp(0, -signs * (inputs @ weights)).mean() + _RIDGE * (weights[:2] ** 2).sum())

    found = minimize(loss, np.zeros(3)).x
    weights = found[:2] / width
    return float(weights[0]), float(weights[1]), float(found[2] - weights @ middle)


def _threshold(
    confidences: npt.NDArray[np.float64],
    labels: npt.NDArray[np.bool_],
    without: npt.NDArray[np.bool_],
    precision: float | None,
) -> float:
    """The threshold to say NIL below; ``without`` are the labels of mentions that are NIL whatever it is."""
    cuts = np.unique(confidences)
    # Halfway between what stands on its two sides, so that rounding does not change sides.
    cuts = np.concatenate([[0.0], (cuts[:-1] + cuts[1:]) / 2, [1.0]])
    said = np.searchsorted(np.sort(confidences), cuts) + len(without)
    right = np.searchsorted(np.sort(confidences[labels]), cuts) + without.sum()
    precisions = np.divide(right, said, out=np.ones(len(cuts)), where=said > 0)
    recalls = right / (labels.sum() + without.sum())
    if precision is None:
        quality = np.divide(
            2 * precisions * recalls, precisions + recalls, out=np.zeros(len(cuts)), where=precisions + recalls > 0
        )
    else:
        check_number("NIL precision", precision, above=0, most=1)
        quality = np.where((precisions >= precision) & (said > 0), recalls, -1.0)
        if quality.max() < 0:
            reached = precisions[said > 0].max()
            raise InputError(f"a NIL precision of {precision} is reached at no threshold; the best is {reached:.3f}")
    return float(cuts[int(quality.argmax())])
