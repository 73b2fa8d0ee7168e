from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest

from modelscope_plugin.errors import IndexFolderError, InputError
from modelscope_plugin.linking.nil import NO_CANDIDATE, NilRule
from modelscope_plugin.retrieval import Candidate, EntityIndex, Fitted

RULE = NilRule("dense", 2.0, 0.0, -1.0, 0.5)


def test_mention_without_candidates_has_no_entity() -> None:
    assert RULE.judge([]) == (True, 0.0, NO_CANDIDATE)


def test_only_a_good_candidate_is_believed() -> None:
    nil, confidence, reason = RULE.judge([Candidate("a", "甲", 0.4, 1)])
    assert nil
    assert reason == f"confidence {confidence:.3f} is below the threshold 0.500"
    assert RULE.judge([Candidate("a", "甲", 0.6, 1)])[::2] == (False, "")


def test_rule_comes_from_the_index() -> None:
    index = EntityIndex(2, "model")
    assert NilRule.of_index(index, "dense") is None
    with pytest.raises(InputError, match="--fit-nil"):
        NilRule.of_index(index, "dense", 0.5)
    index.fitted = index.fitted.with_nil(RULE)
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
    index.fitted = index.fitted.with_nil(RULE)
    assert NilRule.of_index(index, "dense") == RULE


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan"), "0.5", True, [0.5]])
def test_threshold_that_is_no_share_is_named(threshold: Any) -> None:
    index = EntityIndex(2, "model")
    index.fitted = index.fitted.with_nil(RULE)
    with pytest.raises(InputError, match=r"must be a (finite )?number between 0 and 1"):
        NilRule.of_index(index, "dense", threshold)
