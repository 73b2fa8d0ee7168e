from __future__ import annotations

import pytest
from conftest import MENTIONS

from modelscope_plugin.data import Mention
from modelscope_plugin.encoding import EntityEncoder
from modelscope_plugin.evaluation.evaluation import evaluate
from modelscope_plugin.evaluation.fitting.fusion import fit_fusion
from modelscope_plugin.evaluation.nil import fit_nil, score_nil
from modelscope_plugin.linking.nil import NilRule
from modelscope_plugin.retrieval import EntityIndex

NIL = [Mention("宋小宝上演", 0, 3, nil="NIL_Person"), Mention("美人鱼登场", 0, 3, nil="NIL_Work")]


def test_figures_are_those_of_the_labels() -> None:
    mentions = [Mention("甲", 0, 1, ("a",)), Mention("乙", 0, 1, ("b",)), Mention("丙", 0, 1, ("c",)), *NIL]
    result = score_nil([False, False, True, True, False], ["a", "x", "c", None, "y"], mentions, 0.5)
    assert result is not None
    assert (result.accuracy, result.precision, result.recall, result.f1) == (0.4, 0.5, 0.5, 0.5)
    assert result.recall_by_type == {"NIL_Person": 1.0, "NIL_Work": 0.0}
    assert result.to_record()["nil_recall_NIL_Person"] == 1.0


def test_without_nil_labels_there_are_no_figures() -> None:
    assert score_nil([False], ["a"], [Mention("甲", 0, 1, ("a",))], 0.5) is None


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


def test_names_are_measured_by_evaluate(encoder: EntityEncoder, index: EntityIndex) -> None:
    assert evaluate(encoder, index, MENTIONS, ks=[3], retrieval="lexical").recall == {3: 1.0}
    assert evaluate(encoder, index, MENTIONS, ks=[3], retrieval="hybrid").recall == {3: 1.0}


def test_fitted_weights_trust_what_finds_the_gold(encoder: EntityEncoder, index: EntityIndex) -> None:
    fusion = fit_fusion(encoder, index, MENTIONS)
    assert fusion.method == "weighted_sum"
    assert fusion.names > 0
    assert index.fitted.get_fusion() == fusion
    assert fusion.learned == 0.0
