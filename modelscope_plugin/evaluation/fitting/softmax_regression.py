"""Softmax regression over the candidates of mentions: the weights under which the gold entities are likeliest."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

# Weight of the squared weights in the loss; keeps them finite where the golds are separable.
_RIDGE = 1e-3


@dataclass(frozen=True)
class CandidateList:
    """The candidates of one labelled mention.

    Attributes:
        features: float64 (candidates, features).
        golds: True for the gold entities, bool (candidates,).
        fold: A number that is the same for all mentions of an entity, so that entities can be held out as a whole.
    """

    features: npt.NDArray[np.float64]
    golds: npt.NDArray[np.bool_]
    fold: int = 0

    @property
    def is_informative(self) -> bool:
        """True if there is a gold entity among others."""
        return bool(self.golds.any() and not self.golds.all())


def fit_softmax(
    lists: Sequence[CandidateList], columns: Sequence[int] | None = None, *, is_non_negative: bool = False
) -> npt.NDArray[np.float64]:
    """Fit the weights under which the gold entities are likeliest; a small ridge penalty keeps them finite.

    Args:
        lists: The candidates of mentions, each with a gold entity among others; at least one.
        columns: The features that get a weight; by default all.
        is_non_negative: Whether no weight may be negative.

    Returns:
        The weights, float64 (features,); 0 for the other columns and for features that never differ.
    """
    from scipy.optimize import minimize

    width = np.concatenate([one.features for one in lists]).std(axis=0)
    used = [column for column in columns or range(len(width)) if width[column] > 1e-9]
    weights = np.zeros(len(width))
    if not used:
        return weights
    most = max(len(one.golds) for one in lists)
    features = np.zeros((len(lists), most, len(used)))
    penalty, missed = np.full((len(lists), most), -np.inf), np.full((len(lists), most), -np.inf)
    for row, one in enumerate(lists):
        features[row, : len(one.golds)] = one.features[:, used] / width[used]
        penalty[row, : len(one.golds)] = 0
        missed[row, : len(one.golds)] = np.where(one.golds, 0, -np.inf)

    def loss(chosen: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        logits = features @ chosen
        every, every_sum = _softmax(logits + penalty)
        golds, gold_sum = _softmax(logits + missed)
        slope = np.einsum("nk,nkf->f", every - golds, features) / len(lists) + 2 * _RIDGE * chosen
        return float((every_sum - gold_sum).mean() + _RIDGE * chosen @ chosen), slope

    bounds = [(0, None)] * len(used) if is_non_negative else None
    weights[used] = minimize(loss, np.ones(len(used)), jac=True, bounds=bounds).x / width[used]
    return weights


def _softmax(logits: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Softmax over the last axis, and the logarithm of its denominator."""
    top = logits.max(axis=-1, keepdims=True)
    exponentials = np.exp(logits - top)
    total = exponentials.sum(axis=-1, keepdims=True)
    return exponentials / total, (np.log(total) + top)[..., 0]


def hold_out(lists: Sequence[CandidateList], columns: Sequence[int], folds: int) -> list[npt.NDArray[np.float64]]:
    """Score every list with weights, none negative, that were fitted on the lists of other entities.

    Args:
        lists: The candidates of mentions.
        columns: The features that get a weight.
        folds: The number of parts; ``CandidateList.fold`` is below it.

    Returns:
        For each list the scores of its candidates, float64 (candidates,).
    """
    scores = [np.zeros(len(one.golds)) for one in lists]
    for fold in range(folds):
        others = [one for one in lists if one.fold != fold and one.is_informative]
        if others:
            weights = fit_softmax(others, columns, is_non_negative=True)
            for row, one in enumerate(lists):
                if one.fold == fold:
                    scores[row] = one.features @ weights
    return scores


def mean_reciprocal_rank(scores: Iterable[npt.NDArray[np.float64]], lists: Iterable[CandidateList]) -> float:
    """Mean reciprocal rank of the first gold entity; where scores are equal, other candidates come first."""
    ranks = []
    for score, one in zip(scores, lists, strict=True):
        best = score[one.golds].max(initial=-np.inf)
        ranks.append(1 / (1 + int((score[~one.golds] >= best).sum())) if one.golds.any() else 0.0)
    return float(np.mean(ranks))
