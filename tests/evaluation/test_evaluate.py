from __future__ import annotations

import pytest
from conftest import MENTIONS

from modelscope_plugin.data import Mention
from modelscope_plugin.encoding import EntityEncoder
from modelscope_plugin.errors import IndexMismatchError, InputError
from modelscope_plugin.evaluation.evaluate import evaluate
from modelscope_plugin.retrieval import EntityIndex


def test_recall_is_over_the_whole_knowledge_base(encoder: EntityEncoder, index: EntityIndex) -> None:
    result = evaluate(encoder, index, MENTIONS, ks=[6, 1])
    found = index.search(encoder.encode_query(MENTIONS), 1)
    expected = sum(c[0].id in m.entity_ids for c, m in zip(found, MENTIONS, strict=True)) / 6
    assert list(result.recall) == [1, 6]
    assert result.recall == {1: expected, 6: 1.0}


def test_nil_and_unlabelled_mentions_are_left_out_and_counted(encoder: EntityEncoder, index: EntityIndex) -> None:
    others = [Mention("大鹏", 0, 2, nil="NIL"), Mention("大鹏", 0, 2, nil="NIL_Person"), Mention("大鹏", 0, 2)]
    result = evaluate(encoder, index, MENTIONS + others, ks=[1])
    assert (result.mentions, result.nil_mentions, result.unlabelled_mentions) == (6, 2, 1)


def test_gold_outside_the_knowledge_base_counts_as_missed(encoder: EntityEncoder, index: EntityIndex) -> None:
    result = evaluate(encoder, index, [Mention("大鹏", 0, 2, ("Q404",))], ks=[6])
    assert (result.recall[6], result.unknown_gold) == (0.0, 1)


def test_no_labelled_mention_raises(encoder: EntityEncoder, index: EntityIndex) -> None:
    with pytest.raises(InputError, match="none of the 1 mentions has a gold entity"):
        evaluate(encoder, index, [Mention("大鹏", 0, 2)])


def test_index_of_another_model_raises(encoder: EntityEncoder) -> None:
    with pytest.raises(IndexMismatchError):
        evaluate(encoder, EntityIndex(64, "other"), MENTIONS)


def test_metric_is_built_by_modelscope() -> None:
    from modelscope.metrics.builder import build_metric

    import modelscope_plugin  # noqa: F401  (registers the plugin)

    metric, other = (build_metric({"type": "entity-recall", "k": [1, 2]}) for _ in range(2))
    metric.add({"ranking": [["a", "b"], ["b"]]}, {"entity_ids": [["b"], ["a"]]})
    other.add({"ranking": [["a"]]}, {"entity_ids": [["a"]]})
    metric.merge(other)
    assert metric.evaluate() == {"recall@1": 1 / 3, "recall@2": 2 / 3, "mrr": 0.5}


def test_mentions_are_split_by_training_and_by_ambiguity(encoder: EntityEncoder, index: EntityIndex) -> None:
    result = evaluate(encoder, index, MENTIONS, ks=[6], seen={"roc", "river"}, by_ambiguity=True)
    sizes = {name: group.mentions for name, group in result.groups.items()}
    # 苹果 names three entities and 大鹏 two; 迷失北京 and 长江 are names of one.
    assert sizes == {"single_gold": 6, "seen": 2, "unseen": 4, "ambiguous": 4, "unambiguous": 2}


def test_groups_that_were_not_asked_for_are_not_there(encoder: EntityEncoder, index: EntityIndex) -> None:
    assert list(evaluate(encoder, index, MENTIONS, ks=[1]).groups) == ["single_gold"]


def test_names_are_measured_by_evaluate(encoder: EntityEncoder, index: EntityIndex) -> None:
    assert evaluate(encoder, index, MENTIONS, ks=[3], retrieval="lexical").recall == {3: 1.0}
    assert evaluate(encoder, index, MENTIONS, ks=[3], retrieval="hybrid").recall == {3: 1.0}
