from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax

from modelscope_plugin.evaluation.fitting.softmax_regression import (
    CandidateList,
    fit_softmax,
    hold_out,
    mean_reciprocal_rank,
)


def make_lists(seed: int, count: int = 200, weights: tuple[float, ...] = (3.0, 0.0, -2.0)) -> list[CandidateList]:
    """Lists whose gold is drawn with the softmax of a weighted sum."""
    random = np.random.default_rng(seed)
    lists = []
    for number in range(count):
        features = random.normal(size=(int(random.integers(2, 9)), len(weights)))
        gold = int((features @ weights + random.gumbel(size=len(features))).argmax())
        lists.append(CandidateList(features, np.arange(len(features)) == gold, number % 5))
    return lists


def mean_loss(lists: list[CandidateList], weights: np.ndarray) -> float:
    """The mean negative logarithm of the probability of the golds, by plain loops."""
    return float(np.mean([-np.log(np.exp(log_softmax(one.features @ weights))[one.golds].sum()) for one in lists]))


def test_weights_that_drew_the_golds_are_found() -> None:
    np.testing.assert_allclose(fit_softmax(make_lists(1, 2000)), [3.0, 0.0, -2.0], atol=0.4)


@given(st.integers(0, 100), st.integers(0, 2))
def test_no_other_weights_make_the_golds_likelier(seed: int, column: int) -> None:
    lists = make_lists(seed, 30)
    weights = fit_softmax(lists)
    for step in (-0.5, 0.5):
        other = weights + step * np.eye(3)[column]
        penalty = 1e-3 * (other @ other - weights @ weights) * 4
        assert mean_loss(lists, weights) <= mean_loss(lists, other) + max(penalty, 0) + 1e-3


def test_no_weight_is_negative_where_that_is_asked_for() -> None:
    weights = fit_softmax(make_lists(2), is_non_negative=True)
    assert weights[0] > 1
    assert weights[2] == 0


def test_columns_left_out_and_features_that_never_differ_have_no_weight() -> None:
    lists = [CandidateList(one.features * [1, 1, 0], one.golds) for one in make_lists(3)]
    weights = fit_softmax(lists, [0, 2])
    assert weights[0] > 1
    assert weights[1:].tolist() == [0, 0]
    assert fit_softmax(lists, [2]).tolist() == [0, 0, 0]


def test_several_golds_share_their_probability() -> None:
    features = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    weights = fit_softmax([CandidateList(features, np.array([True, True, False]))] * 3)
    assert weights[0] == pytest.approx(weights[1], rel=1e-3)
    assert weights[0] > 1


def test_lists_are_scored_by_weights_of_other_folds() -> None:
    lists = make_lists(4, 100)
    scores = hold_out(lists, [0, 1, 2], 5)
    for fold in range(5):
        weights = fit_softmax([one for one in lists if one.fold != fold], is_non_negative=True)
        for score, one in zip(scores, lists, strict=True):
            if one.fold == fold:
                np.testing.assert_allclose(score, one.features @ weights)


def test_reciprocal_rank_counts_equal_candidates_as_better() -> None:
    golds = [np.array(one, dtype=bool) for one in ([1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0])]
    lists = [CandidateList(np.zeros((3, 1)), one) for one in golds]
    scores = [np.array(one, dtype=float) for one in ([3, 2, 1], [2, 2, 1], [1, 1, 1], [1, 1, 1])]
    assert mean_reciprocal_rank(scores, lists) == pytest.approx((1 + 1 / 2 + 1 / 3 + 0) / 4)
