from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from modelscope_plugin.data import Mention
from modelscope_plugin.training.reranking.candidate_lists import CandidateLists, ListBatch

TEXTS = {f"e{number}": f"text {number}" for number in range(12)}


def _mention(*golds: str) -> Mention:
    return Mention("大鹏", 0, 2, golds)


def _lists(mentions: list[Mention], candidates: list[list[str]], **changes: Any) -> CandidateLists:
    options = {"batch_size": 2, "list_size": 4, "range_max": 8, "seed": 1} | changes
    return CandidateLists(mentions, candidates, TEXTS, **options)


def _texts(batch: ListBatch) -> list[list[str]]:
    return [[batch.texts[position] for position in one] for one in batch.lists]


@given(
    golds=st.lists(st.sets(st.sampled_from(sorted(TEXTS)), min_size=1, max_size=3), min_size=1, max_size=6),
    ranked=st.permutations(sorted(TEXTS)),
    list_size=st.integers(2, 6),
    range_max=st.integers(1, 12),
    epoch=st.integers(0, 3),
)
def test_list_holds_one_gold_entity_and_negatives_of_the_range(
    golds: list[set[str]], ranked: list[str], list_size: int, range_max: int, epoch: int
) -> None:
    mentions = [_mention(*sorted(one)) for one in golds]
    lists = _lists(mentions, [ranked] * len(mentions), list_size=list_size, range_max=range_max)
    batches = list(lists.epoch(epoch))
    assert sum(len(batch.mentions) for batch in batches) == lists.mentions == len(mentions)
    for batch in batches:
        assert len(set(batch.texts)) == len(batch.texts)
        for mention, texts in zip(batch.mentions, _texts(batch), strict=True):
            own = {TEXTS[one] for one in mention.entity_ids}
            allowed = [TEXTS[one] for one in ranked if TEXTS[one] not in own][:range_max]
            assert texts[0] in own
            assert set(texts[1:]) <= set(allowed)
            assert len(texts) == len(set(texts)) == 1 + min(list_size - 1, len(allowed))


def test_epochs_draw_other_negatives_and_other_gold_entities() -> None:
    lists = _lists([_mention("e0", "e1")], [sorted(TEXTS)])
    drawn = [_texts(next(lists.epoch(number)))[0] for number in range(8)]
    assert {one[0] for one in drawn} == {"text 0", "text 1"}
    assert len({tuple(one[1:]) for one in drawn}) > 1


def test_resumed_epoch_goes_on_with_the_same_batches() -> None:
    mentions = [_mention(f"e{number}") for number in range(7)]
    lists = _lists(mentions, [sorted(TEXTS)] * 7)
    whole = list(lists.epoch(3))
    assert len(whole) == len(lists) == 4
    assert list(lists.epoch(3, 2)) == whole[2:]
    assert list(lists.epoch(4)) != whole


def test_entity_with_the_text_of_a_gold_entity_is_no_negative() -> None:
    texts = {"gold": "same", "twin": "same", "other": "different"}
    lists = CandidateLists(
        [_mention("gold")], [["twin", "gold", "other"]], texts, batch_size=1, list_size=4, range_max=4, seed=1
    )
    assert _texts(next(lists.epoch(0))) == [["same", "different"]]


def test_gold_entity_that_the_first_step_has_not_found_is_in_its_list() -> None:
    lists = _lists([_mention("e9")], [["e1", "e2"]])
    assert sorted(_texts(next(lists.epoch(0)))[0]) == ["text 1", "text 2", "text 9"]


def test_mention_without_a_negative_is_left_out() -> None:
    lists = _lists([_mention("e1"), _mention("e2")], [["e1"], ["e2", "e3"]])
    assert (lists.mentions, lists.negatives, len(lists)) == (1, 1, 1)
