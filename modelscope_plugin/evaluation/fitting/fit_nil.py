"""Fits the NIL rule of an index on labelled mentions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from modelscope_plugin.checks import check_number
from modelscope_plugin.data.golds import merge_golds
from modelscope_plugin.data.records import Mention
from modelscope_plugin.encoding.protocol import Encoder
from modelscope_plugin.errors import InputError
from modelscope_plugin.linking.nil import NilRule, ranking_features
from modelscope_plugin.linking.reranking.second_step import SecondStep
from modelscope_plugin.retrieval.entity_index import EntityIndex
from modelscope_plugin.retrieval.retriever import Retriever

# Weight of the squared weights in the loss; keeps them finite where the two kinds of mentions are separable.
_RIDGE = 1e-3


def fit_nil(
    encoder: Encoder,
    index: EntityIndex,
    mentions: Iterable[Mention],
    *,
    retrieval: str = "dense",
    second_step: SecondStep | None = None,
    precision: float | None = None,
    batch_size: int | None = None,
    show_progress_bar: bool | None = None,
) -> NilRule:
    """Fit the NIL rule of an index on labelled mentions and keep it in the index (`EntityIndex.fitted`).

    Args:
        encoder: As for `fit_fusion`.
        index: As for `fit_fusion`.
        mentions: Mentions with gold entities or NIL labels; all others are skipped.
        retrieval: The retrieval to fit for. The rule is used for no other, and linking is ``hybrid`` by default.
        second_step: The re-ranker whose order to fit for, with that retrieval; None for retrieval alone.
        precision: As for `fit_nil_rule`.
        batch_size: As for `fit_fusion`.
        show_progress_bar: As for `fit_fusion`.

    Returns:
        The rule.

    Raises:
        IndexMismatchError: If the index was built with another model.
        InputError: If NIL mentions or other mentions are missing, or no threshold reaches the precision.
    """
    index.check_model(encoder.fingerprint, encoder.name)
    labelled = [mention for mention in merge_golds(mentions) if mention.entity_ids or mention.nil is not None]
    retriever = Retriever(index, retrieval)
    queries = retriever.encode_mentions(encoder, labelled, batch_size=batch_size, show_progress_bar=show_progress_bar)
    features: list[tuple[float, ...] | None]
    if second_step is None:
        features = list(map(ranking_features, retriever.rank(*queries, 1)))
    else:
        rankings = list(retriever.rank(*queries, second_step.top_k))
        reranked = second_step.rank(labelled, rankings, batch_size=batch_size, show_progress_bar=show_progress_bar)
        features = [one.nil_features for one in reranked]
    rule = fit_nil_rule(features, [mention.nil is not None for mention in labelled], retrieval, precision=precision)
    if second_step is not None:
        rule = replace(rule, reranker=second_step.reranker.fingerprint)
    index.fitted = index.fitted.with_nil(rule)
    return rule


def fit_nil_rule(
    features: Sequence[Sequence[float] | None],
    is_nil: Sequence[bool],
    retrieval: str,
    *,
    precision: float | None = None,
) -> NilRule:
    """Fit a rule on the best candidates of labelled mentions.

    A logistic regression gives the confidence. The threshold is the one of the best F1 of predicting NIL or, with
    ``precision``, of the best recall among those that reach it. A mention without a candidate is always predicted NIL.

    Args:
        features: For each mention what `NilRule.confidence` reads of its best candidate; None if it has none.
        is_nil: For each mention whether it has no entity by its label.
        retrieval: The retrieval that found the candidates.
        precision: The least precision of predicting NIL, above 0, at most 1; None for the best F1.

    Returns:
        The rule.

    Raises:
        InputError: If NIL mentions or other mentions are missing, or no threshold reaches the precision.
    """
    known = [(one, label) for one, label in zip(features, is_nil, strict=True) if one is not None]
    labels = np.array([label for _, label in known], dtype=bool)
    if labels.all() or not labels.any():
        raise InputError(
            f"{int(labels.sum())} NIL and {int((~labels).sum())} other mentions with candidates; a NIL rule needs both"
        )
    values = np.array([one for one, _ in known], dtype=np.float64)
    weights, bias = _fit_logistic(values, ~labels)
    dense, names, rerank, probability = [*weights, 0.0, 0.0][:4]
    rule = NilRule(retrieval, dense, names, bias, threshold=0.0, rerank=rerank, probability=probability)
    confidences = np.array([rule.confidence(one) for one, _ in known])
    without = np.array([label for one, label in zip(features, is_nil, strict=True) if one is None], dtype=bool)
    return replace(rule, threshold=_choose_threshold(confidences, labels, without, precision))


def _fit_logistic(values: npt.NDArray[np.float64], has_entity: npt.NDArray[np.bool_]) -> tuple[list[float], float]:
    """Return the weights and the bias of a ridge-regularised logistic regression."""
    from scipy.optimize import minimize

    mean, deviation = values.mean(axis=0), values.std(axis=0)
    deviation[deviation < 1e-9] = 1.0
    inputs = np.column_stack([(values - mean) / deviation, np.ones(len(values))])
    signs = np.where(has_entity, 1.0, -1.0)

    def loss(weights: npt.NDArray[np.float64]) -> float:
        return float(np.logaddexp(0, -signs * (inputs @ weights)).mean() + _RIDGE * (weights[:-1] ** 2).sum())

    optimum = minimize(loss, np.zeros(inputs.shape[1])).x
    weights = optimum[:-1] / deviation
    return [float(weight) for weight in weights], float(optimum[-1] - weights @ mean)


def _choose_threshold(
    confidences: npt.NDArray[np.float64],
    labels: npt.NDArray[np.bool_],
    without: npt.NDArray[np.bool_],
    precision: float | None,
) -> float:
    """Choose the threshold below which mentions are predicted NIL.

    Args:
        confidences: For each mention with a candidate the confidence, (n,).
        labels: Whether it has no entity by its label, (n,).
        without: The same labels of the mentions without a candidate, which are predicted NIL at any threshold.
        precision: As for `fit_nil_rule`.
    """
    cuts = np.unique(confidences)
    # Halfway between neighbours, so that rounding moves no mention to the other side.
    cuts = np.concatenate([[0.0], (cuts[:-1] + cuts[1:]) / 2, [1.0]])
    predicted = np.searchsorted(np.sort(confidences), cuts) + len(without)
    correct = np.searchsorted(np.sort(confidences[labels]), cuts) + without.sum()
    precisions = np.divide(correct, predicted, out=np.ones(len(cuts)), where=predicted > 0)
    recalls = correct / (labels.sum() + without.sum())
    if precision is None:
        sums = precisions + recalls
        quality = np.divide(2 * precisions * recalls, sums, out=np.zeros(len(cuts)), where=sums > 0)
    else:
        check_number("NIL precision", precision, above=0, most=1)
        quality = np.where((precisions >= precision) & (predicted > 0), recalls, -1.0)
        if quality.max() < 0:
            best = precisions[predicted > 0].max()
            raise InputError(f"a NIL precision of {precision} is reached at no threshold; the best is {best:.3f}")
    return float(cuts[int(quality.argmax())])
