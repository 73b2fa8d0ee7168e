from __future__ import annotations

from typing import Any

import pytest
from conftest import MENTIONS
from hypothesis import given
from hypothesis import strategies as st

from modelscope_plugin.data import Mention
from modelscope_plugin.encoding import EntityEncoder
from modelscope_plugin.errors import InputError
from modelscope_plugin.evaluation.evaluate import evaluate
from modelscope_plugin.evaluation.fitting.fit_nil import fit_nil, fit_nil_rule
from modelscope_plugin.linking.nil import NilRule
from modelscope_plugin.retrieval import EntityIndex

NIL = [Mention("宋小宝上演", 0, 3, nil="NIL_Person"), Mention("美人鱼登场", 0, 3, nil="NIL_Work")]
EXAMPLES = st.lists(st.tuples(st.floats(-1, 1), st.booleans()), min_size=4, max_size=30).filter(
    lambda values: len({label for _, label in values}) == 2
)


def figures(rule: NilRule, values: list[tuple[float, bool]]) -> tuple[float, float]:
    """Precision and recall of saying NIL."""
    said = [label for score, label in values if rule.confidence((score, 0.0)) < rule.threshold]
    return (sum(said) / len(said) if said else 1.0), sum(said) / sum(label for _, label in values)


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


@pytest.mark.parametrize("retrieval", ["dense", "lexical", "hybrid"])
def test_fitted_rule_is_in_force_in_evaluate(encoder: EntityEncoder, index: EntityIndex, retrieval: str) -> None:
    # Mentions of no name share some characters with names, or lexical retrieval has nothing to doubt.
    nil = [*NIL, Mention("大江", 0, 2, nil="NIL"), Mention("苹", 0, 1, nil="NIL")]
    assert evaluate(encoder, index, [*MENTIONS, *nil], ks=[1], retrieval=retrieval).nil is None
    rule = fit_nil(encoder, index, [*MENTIONS, *nil], retrieval=retrieval)
    assert NilRule.of_index(index, retrieval) == rule
    result = evaluate(encoder, index, [*MENTIONS, *nil], ks=[1], retrieval=retrieval)
    assert result.nil is not None
    assert result.nil.threshold == rule.threshold
    assert (result.mentions, result.nil_mentions) == (6, 4)
    assert set(result.nil.recall_by_type) == {"NIL", "NIL_Person", "NIL_Work"}
    if retrieval != "dense":
        assert (result.nil.f1, result.nil.recall) == (1.0, 1.0)
    assert "nil_f1" in result.to_record()
