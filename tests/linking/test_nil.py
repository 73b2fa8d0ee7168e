from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelscope_plugin.errors import IndexFolderError, InputError
from modelscope_plugin.linking.nil import NO_CANDIDATE, NilRule, fit_nil_rule
from modelscope_plugin.retrieval import Candidate, EntityIndex, Fitted

RULE = NilRule("dense", 2.0, 0.0, -1.0, 0.5)
EXAMPLES = st.lists(st.tuples(st.floats(-1, 1), st.booleans()), min_size=4, max_size=30).filter(
    lambda values: len({label for _, label in values}) == 2
)


def figures(rule: NilRule, values: list[tuple[float, bool]]) -> tuple[float, float]:
    """Precision and recall of saying NIL."""
    said = [label for score, label in values if rule.confidence((score, 0.0)) < rule.threshold]
    return (sum(said) / len(said) if said else 1.0), sum(said) / sum(label for _, label in values)


def test_mention_without_candidates_has_no_entity() -> None:
    assert RULE.judge([]) == (True, 0.0, NO_CANDIDATE)


def test_only_a_good_candidate_is_believed() -> None:
    nil, confidence, reason = RULE.judge([Candidate("a", "甲", 0.4, 1)])
    assert nil
    assert reason == f"confidence {confidence:.3f} is below the threshold 0.500"
    assert RULE.judge([Candidate("a", "甲", 0.6, 1)])[::2] == (False, "")


def test_separable_mentions_are_separated() -> None:
    rule = fit_nil_rule([(0.1, 0.0), (0.2, 0.0), (0.8, 1.0), (0.9, 1.0), None], [True, True, False, False, True], "x")
    assert [rule.confidence(one) < rule.threshold for one in [(0.1, 0), (0.2, 0), (0.8, 1), (0.9, 1)]] == [
        True, True, False, False,
    ]  # fmt: skip


@given(EXAMPLES)
def test_best_f1_is_no_worse_than_saying_nil_always(values: list[tuple[float, bool]]) -> None:
    rule = fit_nil_rule([(score, 0.0) for score, _ in values], [label for _, label in values], "dense")
    precision, recall = figures(rule, values)
    always = sum(label for _, label in values) / len(values)
    assert precision * recall / max(precision + recall, 1e-9) >= always / (always + 1) - 1e-9


def test_wanted_precision_is_reached_with_the_best_recall() -> None:
    values = [(0.1, True), (0.2, False), (0.3, True), (0.4, True), (0.5, True), (0.9, False), (0.95, False)]
    scores, labels = [(score, 0.0) for score, _ in values], [label for _, label in values]
    assert figures(fit_nil_rule(scores, labels, "dense", precision=0.8), values) == (0.8, 1.0)
    assert figures(fit_nil_rule(scores, labels, "dense", precision=0.9), values) == (1.0, 0.25)


def test_precision_out_of_reach_is_said() -> None:
    with pytest.raises(InputError, match="is reached at no threshold"):
        fit_nil_rule([(0.1, 0.0), (0.1, 0.0)], [True, False], "dense", precision=0.9)


@pytest.mark.parametrize("precision", [0, 1.5, float("nan"), "0.9", True])
def test_precision_that_is_no_share_is_said(precision: Any) -> None:
    with pytest.raises(InputError, match="above 0 and at most 1"):
        fit_nil_rule([(0.1, 0.0), (0.2, 0.0)], [True, False], "dense", precision=precision)


def test_one_kind_of_mentions_is_not_enough() -> None:
    with pytest.raises(InputError, match="2 NIL and 0 other mentions"):
        fit_nil_rule([(0.1, 0.0), (0.2, 0.0)], [True, True], "dense")


def test_rule_comes_from_the_index() -> None:
    index = EntityIndex(2, "model")
    assert NilRule.of_index(index, "dense") is None
    with pytest.raises(InputError, match="--fit-nil"):
        NilRule.of_index(index, "dense", 0.5)
    RULE.keep(index)
    assert NilRule.of_index(index, "dense") == RULE
    assert NilRule.of_index(index, "hybrid") is None
    other = NilRule.of_index(index, "dense", 0.9)
    assert other is not None
    assert other.threshold == 0.9
    with pytest.raises(InputError, match="between 0 and 1"):
        NilRule.of_index(index, "dense", 2.0)


@pytest.mark.parametrize(
    "record",
    [
        None,
        [],
        "rule",
        {},
        {"retrieval": "dense"},
        {**asdict(RULE), "bias": float("inf")},
        {**asdict(RULE), "dense": float("nan")},
        {**asdict(RULE), "names": 10**400},
        {**asdict(RULE), "dense": "2"},
        {**asdict(RULE), "names": None},
        {**asdict(RULE), "bias": True},
        {**asdict(RULE), "threshold": [0.5]},
        {**asdict(RULE), "threshold": 1.5},
        {**asdict(RULE), "retrieval": "hybrid"},
        {**asdict(RULE), "more": 1},
    ],
)
def test_damaged_rule_is_named(record: object) -> None:
    index = EntityIndex(2, "model")
    index.fitted = Fitted.from_record({"nil": {"dense": record}})
    with pytest.raises(IndexFolderError, match=r"fitted\.nil\.dense in the manifest\.json .*fit it again with: "):
        NilRule.of_index(index, "dense")


@pytest.mark.parametrize("rules", [None, [], "dense", 5])
def test_damaged_rules_are_named_and_can_be_fitted_again(rules: object) -> None:
    index = EntityIndex(2, "model")
    index.fitted = Fitted.from_record({"nil": rules})
    with pytest.raises(IndexFolderError, match="fit it again"):
        NilRule.of_index(index, "dense")
    RULE.keep(index)
    assert NilRule.of_index(index, "dense") == RULE


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan"), "0.5", True, [0.5]])
def test_threshold_that_is_no_share_is_named(threshold: Any) -> None:
    index = EntityIndex(2, "model")
    RULE.keep(index)
    with pytest.raises(InputError, match=r"must be a (finite )?number between 0 and 1"):
        NilRule.of_index(index, "dense", threshold)
