from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from conftest import ENTITIES, MENTIONS

from modelscope_plugin.data import Entity, Mention
from modelscope_plugin.encoding import EntityEncoder
from modelscope_plugin.errors import InputError
from modelscope_plugin.evaluation.evaluate import evaluate
from modelscope_plugin.evaluation.fitting.fit_nil import fit_nil
from modelscope_plugin.evaluation.fitting.fit_reranking import choose_columns, fit_reranking
from modelscope_plugin.evaluation.fitting.softmax_regression import CandidateList
from modelscope_plugin.linking.nil import NilRule
from modelscope_plugin.linking.reranking.second_step import SecondStep
from modelscope_plugin.retrieval import EntityIndex
from modelscope_plugin.types import Scores

GOLDS = {mention.text: mention.entity_ids for mention in MENTIONS}
NIL = [Mention("宋小宝上演", 0, 3, nil="NIL"), Mention("美人鱼登场", 0, 3, nil="NIL"), Mention("大江", 0, 2, nil="NIL")]


class Oracle:
    """A re-ranker that knows the golds; with a negative sign it knows what is wrong."""

    name = "oracle"

    def __init__(self, sign: float = 1.0) -> None:
        self.sign = sign
        self.fingerprint = f"oracle {sign}"

    def score(
        self,
        mentions: Sequence[str | Mention],
        entities: Sequence[Sequence[Entity]],
        *,
        batch_size: int | None = None,
    ) -> list[Scores]:
        """The sign for golds, else 0."""
        golds = [GOLDS.get(one.text, ()) if isinstance(one, Mention) else () for one in mentions]
        return [
            np.array([self.sign * (entity.id in gold) for entity in one], dtype=np.float32)
            for gold, one in zip(golds, entities, strict=True)
        ]


@pytest.mark.parametrize("retrieval", ["dense", "lexical", "hybrid"])
def test_a_reranker_that_knows_is_trusted(encoder: EntityEncoder, index: EntityIndex, retrieval: str) -> None:
    oracle = Oracle()
    weights = fit_reranking(encoder, index, SecondStep(oracle, index, retrieval), MENTIONS)
    assert index.fitted.get_reranking(retrieval, oracle.fingerprint) == weights
    assert weights.rerank > 0
    result = evaluate(encoder, index, MENTIONS, ks=[1, 4], retrieval=retrieval, reranker=oracle)
    assert result.recall == {1: 1.0, 4: 1.0}
    assert result.first_step is not None
    assert result.first_step == evaluate(encoder, index, MENTIONS, ks=[1, 4], retrieval=retrieval)
    record = result.to_record()
    assert record["first_step_recall@1"] == result.first_step.recall[1]
    assert (result.first_step.recall[1] < 1.0) == (retrieval != "hybrid")
    assert record["first_step_mrr"] == result.first_step.mrr
    assert record["first_step_single_gold_recall@4"] == result.first_step.groups["single_gold"].recall[4]


def test_a_reranker_that_is_wrong_changes_nothing(encoder: EntityEncoder, index: EntityIndex) -> None:
    liar = Oracle(-1.0)
    assert fit_reranking(encoder, index, SecondStep(liar, index, "hybrid"), MENTIONS).rerank == 0
    result = evaluate(encoder, index, MENTIONS, ks=[1, 4], retrieval="hybrid", reranker=liar)
    assert result.first_step is not None
    assert result.mrr >= result.first_step.mrr


def test_new_weights_replace_those_of_another_reranker(encoder: EntityEncoder, index: EntityIndex) -> None:
    for oracle in (Oracle(), Oracle(2.0)):
        unfitted = SecondStep(oracle, index, "hybrid", is_fitted=False)
        assert fit_reranking(encoder, index, unfitted, MENTIONS).reranker == oracle.fingerprint


def test_mentions_that_teach_nothing_are_said(encoder: EntityEncoder, index: EntityIndex) -> None:
    mentions = [Mention("大鹏", 0, 2, ("nobody",)), *NIL]
    with pytest.raises(InputError, match="none of the 4 mentions has a gold entity among other candidates"):
        fit_reranking(encoder, index, SecondStep(Oracle(), index, "hybrid"), mentions)


def test_nil_is_fitted_on_the_second_step(encoder: EntityEncoder, index: EntityIndex) -> None:
    oracle, mentions = Oracle(), [*MENTIONS, *NIL]
    fit_reranking(encoder, index, SecondStep(oracle, index, "hybrid"), MENTIONS)
    step = SecondStep(oracle, index, "hybrid")
    rule = fit_nil(encoder, index, mentions, retrieval="hybrid", second_step=step)
    assert rule.rerank > 0
    assert NilRule.of_index(index, "hybrid", reranker=oracle.fingerprint) == rule
    assert NilRule.of_index(index, "hybrid") is None
    result = evaluate(encoder, index, mentions, ks=[1], retrieval="hybrid", reranker=oracle)
    assert result.nil is not None
    assert (result.nil.f1, result.nil.accuracy) == (1.0, 1.0)
    plain = fit_nil(encoder, index, mentions, retrieval="hybrid")
    assert (plain.reranker, plain.rerank, plain.probability) == ("", 0.0, 0.0)
    fit_reranking(encoder, index, SecondStep(oracle, index, "hybrid"), MENTIONS)
    assert NilRule.of_index(index, "hybrid", reranker=oracle.fingerprint) is None
    assert NilRule.of_index(index, "hybrid") == plain


def test_second_step_reads_only_its_first_candidates(encoder: EntityEncoder, index: EntityIndex) -> None:
    read: list[int] = []
    oracle = Oracle()
    score = oracle.score
    oracle.score = lambda mentions, entities, **options: (  # type: ignore[method-assign]
        read.extend(map(len, entities)) or score(mentions, entities, **options)
    )
    evaluate(encoder, index, MENTIONS, ks=[1, 6], retrieval="hybrid", reranker=oracle, rerank_top_k=2)
    assert read == [2] * len(MENTIONS)
    assert len(ENTITIES) > 2


def test_names_learnt_have_no_weight_where_that_costs_other_entities() -> None:
    random = np.random.default_rng(1)
    for share in (0.0, 1.0):
        lists = []
        for number in range(200):
            features = random.normal(size=(8, 6)) * [1, 0, 0, 0, 0, 0]
            golds = np.arange(8) == int((3 * features[:, 0] + random.gumbel(size=8)).argmax())
            # Learnt names that are like the mention: of the golds, and of other entities as often or never.
            features[:, 3] = golds | ((random.random(8) < 0.3) if share else False)
            lists.append(CandidateList(features, golds, number % 5))
        assert (3 in choose_columns(lists)) == (share == 0.0)


def test_where_nothing_finds_the_golds_retrieval_decides(
    encoder: EntityEncoder, index: EntityIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelscope_plugin.evaluation.fitting.fit_reranking.fit_softmax", lambda *_, **__: np.zeros(6))
    weights = fit_reranking(encoder, index, SecondStep(Oracle(), index, "dense"), MENTIONS)
    assert (weights.rank, weights.rerank) == (1.0, 0.0)
    first = evaluate(encoder, index, MENTIONS, ks=[1, 4], retrieval="dense")
    assert evaluate(encoder, index, MENTIONS, ks=[1, 4], retrieval="dense", reranker=Oracle()).recall == first.recall
