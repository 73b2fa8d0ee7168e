from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from conftest import ENTITIES, MENTIONS
from hypothesis import given
from hypothesis import strategies as st

from modelscope_plugin.data import Entity, Mention
from modelscope_plugin.encoding import EntityEncoder
from modelscope_plugin.errors import IndexMismatchError, InputError
from modelscope_plugin.linking.linker import EntityLinker
from modelscope_plugin.linking.reranking.protocol import Reranker
from modelscope_plugin.linking.reranking.second_step import SecondStep, weigh
from modelscope_plugin.retrieval import Candidate, EntityIndex
from modelscope_plugin.retrieval.fitted import RERANKING_FEATURES, NilWeights, RerankingWeights
from modelscope_plugin.retrieval.retriever import Retriever
from modelscope_plugin.types import Scores

ALONE = {"retrieval": "hybrid", "reranker": "known"}


class KnownScores:
    """A re-ranker that scores entities as it is told."""

    name = "known"
    fingerprint = "known"

    def __init__(self, **scores: float) -> None:
        self.scores = scores

    def score(
        self,
        mentions: Sequence[str | Mention],
        entities: Sequence[Sequence[Entity]],
        *,
        batch_size: int | None = None,
    ) -> list[Scores]:
        """The scores that were given, else 0."""
        return [np.array([self.scores.get(one.id, 0.0) for one in each], dtype=np.float32) for each in entities]


RIVER = KnownScores(river=9.0, roc=5.0)


def link(
    encoder: EntityEncoder, index: EntityIndex, reranker: Reranker | None, top_k: int = 6, **options: Any
) -> list[Candidate]:
    """The candidates of one mention."""
    return EntityLinker(encoder, index, reranker=reranker, **options).link(MENTIONS[:1], top_k=top_k)[0]


@pytest.mark.parametrize("retrieval", ["dense", "lexical", "hybrid"])
def test_fitted_weights_decide_the_order(encoder: EntityEncoder, index: EntityIndex, retrieval: str) -> None:
    weights = RerankingWeights(retrieval, "known", rerank=1.0)
    before = link(encoder, index, None, retrieval=retrieval)
    index.fitted = index.fitted.with_reranking(weights)
    after = link(encoder, index, KnownScores(**{before[1].id: 2.0}), retrieval=retrieval)
    assert {one.id for one in after} == {one.id for one in before}
    assert after[0].id == before[1].id
    assert [one.id for one in after[1:]] == sorted(one.id for one in before if one.id != before[1].id)
    assert [one.score for one in after] == [2.0, *[0.0] * (len(after) - 1)]
    assert [one.rank for one in after] == list(range(1, len(after) + 1))
    assert [before[one.retrieval_rank - 1].id for one in after if one.retrieval_rank] == [one.id for one in after]
    expected = np.exp([2.0, *[0.0] * (len(after) - 1)])
    np.testing.assert_allclose([one.probability for one in after], expected / expected.sum())  # type: ignore[arg-type]
    if retrieval == "dense":
        assert [one.dense_score for one in after] == [before[(one.retrieval_rank or 0) - 1].score for one in after]


def test_the_sum_weighs_what_retrieval_knew(encoder: EntityEncoder, index: EntityIndex) -> None:
    index.fitted = index.fitted.with_reranking(RerankingWeights(**ALONE, rerank=0.5, dense=2.0, names=3.0, rank=0.25))
    for one in link(encoder, index, RIVER):
        features = (one.rerank_score, one.dense_score, one.name_score, -np.log(one.retrieval_rank or 0))
        assert one.score == pytest.approx(np.dot([0.5, 2.0, 3.0, 0.25], features), abs=1e-5)


def test_exact_names_have_a_weight_of_their_own(encoder: EntityEncoder, index: EntityIndex) -> None:
    index.fitted = index.fitted.with_reranking(RerankingWeights(**ALONE, rerank=0.0, exact=4.0))
    assert {one.id: one.score for one in link(encoder, index, RIVER) if one.score} == {
        "apple-inc": 4.0, "apple-fruit": 4.0, "apple-film": 4.0,
    }  # fmt: skip


def test_candidates_behind_the_reranked_ones_keep_order_and_score(encoder: EntityEncoder, index: EntityIndex) -> None:
    before = link(encoder, index, None)
    index.fitted = index.fitted.with_reranking(RerankingWeights(**ALONE, rerank=1.0))
    after = link(encoder, index, KnownScores(**{before[2].id: 1.0}), rerank_top_k=3)
    assert after[0].id == before[2].id
    assert [(one.id, one.score, one.rank) for one in after[3:]] == [(one.id, one.score, one.rank) for one in before[3:]]
    assert [one.rerank_score for one in after] == [1.0, 0.0, 0.0, None, None, None]
    assert after[3].probability is None
    assert sum(one.probability for one in after[:3] if one.probability) == pytest.approx(1.0)


def test_more_are_reranked_than_are_asked_for(encoder: EntityEncoder, index: EntityIndex) -> None:
    last = link(encoder, index, None)[-1].id
    index.fitted = index.fitted.with_reranking(RerankingWeights(**ALONE, rerank=1.0))
    assert [one.id for one in link(encoder, index, KnownScores(**{last: 1.0}), top_k=1)] == [last]


def test_unfitted_a_reranker_does_not_displace_the_first(encoder: EntityEncoder, index: EntityIndex) -> None:
    before = link(encoder, index, None)
    reranker = KnownScores(**{before[1].id: 1000.0})
    after = link(encoder, index, reranker)
    assert after[0].id == before[0].id
    assert {one.probability for one in after} == {None}


def test_weights_that_are_not_fitted_are_missed(index: EntityIndex, caplog: pytest.LogCaptureFixture) -> None:
    SecondStep(RIVER, index, "dense", is_fitted=False)
    assert not caplog.text
    SecondStep(RIVER, index, "dense")
    assert "fit: modelscope entity evaluate DEV --index INDEX --fit-reranking --retrieval dense" in caplog.text
    caplog.clear()
    index.fitted = index.fitted.with_reranking(RerankingWeights("dense", "known", 1.0))
    SecondStep(RIVER, index, "dense")
    assert not caplog.text


def test_mentions_without_candidates_have_none_after_reranking(index: EntityIndex) -> None:
    step = SecondStep(RIVER, index, "lexical")
    rankings = list(Retriever(index, "lexical").rank(None, ["々", "长江"], 5))
    reranked = list(step.rank(["々", "长江"], rankings))
    assert reranked[0].nil_features is None
    assert len(reranked[0].ranking.rows) == 0
    assert reranked[1].nil_features == (0.0, 1.0, 9.0, 0.0)


@given(st.dictionaries(st.sampled_from([one.id for one in ENTITIES]), st.integers(-5, 5)), st.floats(0.1, 100))
def test_unfitted_order_does_not_depend_on_the_scale_of_the_scores(scores: dict[str, int], scale: float) -> None:
    index = EntityIndex(2, "model")
    index.add(ENTITIES, np.eye(6, 2, dtype=np.float32))
    (ranking,) = Retriever(index, "lexical").rank(None, ["苹果大鹏长江"], 6)
    orders = []
    for factor in (1.0, scale):
        reranker = KnownScores(**{one.id: factor * scores.get(one.id, 0) + factor for one in ENTITIES})
        orders.append(next(SecondStep(reranker, index, "lexical").rank(["苹果大鹏长江"], [ranking])).ranking)
    np.testing.assert_allclose(orders[0].scores, orders[1].scores, atol=1e-5)


def test_features_are_named_as_their_weights() -> None:
    weights = RerankingWeights(**ALONE, **{name: float(place) for place, name in enumerate(RERANKING_FEATURES)})
    np.testing.assert_array_equal(weigh(np.eye(6), weights), np.arange(6))


def test_weights_of_another_reranker_are_refused(encoder: EntityEncoder, index: EntityIndex) -> None:
    index.fitted = index.fitted.with_reranking(RerankingWeights("hybrid", "another", 1.0))
    with pytest.raises(IndexMismatchError, match=r"another re-ranker .*--fit-reranking --retrieval hybrid"):
        link(encoder, index, RIVER)
    assert link(encoder, index, RIVER, retrieval="dense")[0].rerank_score is not None
    assert SecondStep(RIVER, index, "hybrid", is_fitted=False).weights is None


def test_confidence_is_the_probability_or_that_of_the_nil_rule(encoder: EntityEncoder, index: EntityIndex) -> None:
    text = "看 [ENT_S] 长江 [ENT_E] 吧"

    def linked(reranker: Reranker | None = RIVER, **options: Any) -> dict[str, Any]:
        from modelscope_plugin.data.requests import parse_linking_document

        linker = EntityLinker(encoder, index, reranker=reranker, **options)
        mention: dict[str, Any] = linker.link_documents([parse_linking_document(text)])[0]["mentions"][0]
        return mention

    assert "confidence" not in linked()
    index.fitted = index.fitted.with_reranking(RerankingWeights(**ALONE, rerank=1.0))
    first = linked()["candidates"][0]
    assert linked()["confidence"] == first["probability"] > 0.9
    with pytest.raises(InputError, match=r"hybrid retrieval and this re-ranker; fit it with: .*--reranker DIR"):
        linked(nil_threshold=0.5)
    rule = NilWeights("hybrid", 0.0, 0.0, -9.5, 0.5, reranker="known", rerank=1.0, probability=0.4)
    index.fitted = index.fitted.with_nil(rule)
    assert linked()["confidence"] == pytest.approx(1 / (1 + np.exp(9.5 - 9.0 - 0.4 * first["probability"])))
    assert linked()["nil"]
    assert not linked(nil_threshold=0.1)["nil"]
    assert "nil" not in linked(reranker=None)


def test_a_nil_rule_without_the_reranker_is_not_used_and_that_is_said(
    encoder: EntityEncoder, index: EntityIndex, caplog: pytest.LogCaptureFixture
) -> None:
    index.fitted = index.fitted.with_nil(NilWeights("hybrid", 0.0, 0.0, -9.0, 0.5))
    assert EntityLinker(encoder, index, reranker=RIVER).nil_rule is None
    assert "is not used; fit it with: modelscope entity evaluate" in caplog.text
