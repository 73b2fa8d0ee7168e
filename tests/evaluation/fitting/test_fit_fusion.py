from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from conftest import ENTITIES, MENTIONS

from modelscope_plugin.data import Entity, Mention
from modelscope_plugin.encoding import EntityEncoder
from modelscope_plugin.errors import InputError
from modelscope_plugin.evaluation.fitting.fit_fusion import fit_fusion
from modelscope_plugin.retrieval import EntityIndex, Fusion, Retriever
from modelscope_plugin.retrieval.building import build_index

LETTERS = "苹果公司大鹏董成美人鱼长江神鸟电影品类型北京迷失演员导游"


def make_index(encoder: EntityEncoder, count: int = 60) -> tuple[EntityIndex, list[Mention]]:
    """An index of names of three characters, and for each entity a mention that lacks the last of them."""
    drawn = np.random.default_rng(3)
    names = dict.fromkeys("".join(drawn.choice(list(LETTERS), 4, replace=False)) for _ in range(count))
    entities = [Entity(f"e{number:02}", name) for number, name in enumerate(names)]
    mentions = [Mention(f"关键时刻{one.name[:3]}登场", 4, 7, (one.id,)) for one in entities]
    return build_index(encoder, entities, show_progress_bar=False), mentions


def test_weight_of_names_rises_where_names_find_what_random_vectors_do_not(encoder: EntityEncoder) -> None:
    index, mentions = make_index(encoder)
    fusion = fit_fusion(encoder, index, mentions)
    assert fusion.names > Fusion().names
    assert (fusion.dense, fusion.learned) == (Fusion().dense, Fusion().learned)
    assert index.fitted.get_fusion() == fusion


def test_few_mentions_are_no_evidence_and_leave_the_weights_as_they_are(
    encoder: EntityEncoder, index: EntityIndex
) -> None:
    assert fit_fusion(encoder, index, MENTIONS) == Fusion()


def test_folds_do_not_depend_on_the_order_of_the_mentions(encoder: EntityEncoder) -> None:
    index, mentions = make_index(encoder)
    assert fit_fusion(encoder, index, mentions) == fit_fusion(encoder, index, mentions[::-1])


def test_words_learnt_that_would_hide_unseen_entities_get_no_more_weight(encoder: EntityEncoder) -> None:
    index, mentions = make_index(encoder)
    # The words of each mention are also learnt for its neighbour: right for nobody who is unseen.
    learnt = [replace(one, entity_ids=(*one.entity_ids, other.entity_ids[0]))
              for one, other in zip(mentions, [*mentions[1:], mentions[0]], strict=True)]  # fmt: skip
    index.lexicon.learn(learnt)
    assert fit_fusion(encoder, index, mentions).learned <= Fusion().learned


@pytest.mark.parametrize("learned", [0.0, 0.5])
@pytest.mark.parametrize("method", ["reciprocal_rank", "weighted_sum"])
def test_a_word_that_was_learnt_is_not_behind_what_shares_nothing_but_vectors(
    encoder: EntityEncoder, index: EntityIndex, method: str, learned: float
) -> None:
    index.lexicon.learn([Mention("神鸟飞了", 0, 2, ("river",))])
    vectors = -encoder.encode_document([ENTITIES[5]])  # farthest from the river
    ranking = Retriever(index, "hybrid", Fusion(method, learned=learned)).search(vectors, ["神鸟"], 6)[0]
    behind = [one for one in ranking if one.rank < next(found.rank for found in ranking if found.id == "river")]
    assert all(one.name_score for one in behind)


def test_a_word_that_was_learnt_is_found_after_fitting_on_mentions_without_it(encoder: EntityEncoder) -> None:
    index, mentions = make_index(encoder)
    index.lexicon.learn([Mention("上海", 0, 2, ("e07",))])
    fit_fusion(encoder, index, mentions)
    retriever = Retriever(index, "hybrid")
    queries = retriever.encode_mentions(encoder, [Mention("在上海", 1, 3)])
    assert retriever.search(*queries, 3)[0][0].id == "e07"


def test_mentions_without_a_gold_among_candidates_are_refused(encoder: EntityEncoder, index: EntityIndex) -> None:
    with pytest.raises(InputError, match="nothing to fit"):
        fit_fusion(encoder, index, [Mention("上海", 0, 2, ("nobody",))])
