from __future__ import annotations

import logging

import pytest
import torch
from conftest import ENTITIES, MENTIONS
from hypothesis import given
from hypothesis import strategies as st

from modelscope_plugin.data import Mention
from modelscope_plugin.encoding import EntityEncoder
from modelscope_plugin.errors import TrainingError
from modelscope_plugin.trainers.examples import Collator, Pair, PairBatches, Pairs


def _pair(entity: str, length: int = 1) -> Pair:
    return Pair([1] * length, [1], entity, frozenset([entity]))


def test_pairs_holds_every_gold_of_every_mention(encoder: EntityEncoder) -> None:
    several = Mention("苹果", 0, 2, ("apple-inc", "apple-fruit"))
    pairs = Pairs(ENTITIES, [*MENTIONS, several], encoder.tokenizer)
    assert (len(pairs), pairs.mentions, pairs.entities) == (8, 7, 6)
    assert pairs[7].golds == pairs[6].golds == {"apple-inc", "apple-fruit"}


def test_pairs_leaves_nil_mentions_out(encoder: EntityEncoder) -> None:
    pairs = Pairs(ENTITIES, [*MENTIONS, Mention("大鹏", 0, 2, nil="NIL_Person")], encoder.tokenizer)
    assert pairs.mentions == 6


def test_pairs_warns_of_golds_that_are_not_in_the_kb(encoder: EntityEncoder, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        pairs = Pairs(ENTITIES, [*MENTIONS, Mention("某某", 0, 2, ("Q404",))], encoder.tokenizer)
    assert len(pairs) == 6
    assert "1 of 7 gold entities are not in the knowledge base (Q404, ...)" in caplog.text


@pytest.mark.parametrize("mentions", [[], [Mention("某某", 0, 2, ("Q404",))], [Mention("某某", 0, 2, nil="NIL")]])
def test_pairs_without_one_usable_mention_raises(encoder: EntityEncoder, mentions: list[Mention]) -> None:
    with pytest.raises(TrainingError, match="has a gold entity in the knowledge base"):
        Pairs(ENTITIES, mentions, encoder.tokenizer)


@given(
    entities=st.lists(st.integers(0, 12), min_size=1, max_size=80), batch_size=st.integers(2, 8), seed=st.integers(0, 9)
)
def test_batches_hold_every_pair_once(entities: list[int], batch_size: int, seed: int) -> None:
    batches = PairBatches([_pair(str(e)) for e in entities], batch_size, seed)
    made = list(batches)
    assert sorted(place for batch in made for place in batch) == list(range(len(entities)))
    assert len(made) == len(batches)
    assert max(map(len, made)) <= batch_size


@given(count=st.integers(1, 60), copies=st.integers(1, 3), batch_size=st.integers(2, 8))
def test_full_batches_hold_no_entity_twice_while_others_are_left(count: int, copies: int, batch_size: int) -> None:
    pairs = [_pair(str(place % count)) for place in range(count * copies)]
    repeated = sum(len({pairs[p].entity for p in batch}) < len(batch) for batch in PairBatches(pairs, batch_size, 0))
    # Only what is left over at the end, at most a batch for each copy of an entity, may repeat one.
    assert repeated <= copies


def test_batches_depend_on_seed_and_epoch_alone() -> None:
    pairs = [_pair(str(place), place % 7 + 1) for place in range(100)]
    first, again, other = PairBatches(pairs, 8, 1), PairBatches(pairs, 8, 1), PairBatches(pairs, 8, 2)
    orders = [list(first)]
    first.set_epoch(1)
    orders.append(list(first))
    again.set_epoch(1)
    assert list(again) == orders[1]
    assert orders[0] != orders[1]
    assert list(other) != orders[0]


def test_batches_hold_pairs_of_similar_length() -> None:
    pairs = [_pair(str(place), 1 + place * 37 % 100) for place in range(128)]
    spread = [
        max(len(pairs[p].mention_ids) for p in b) - min(len(pairs[p].mention_ids) for p in b)
        for b in PairBatches(pairs, 8, 0)
    ]
    assert sum(spread) / len(spread) < 10


def test_collator_masks_other_golds_and_repeats(encoder: EntityEncoder) -> None:
    golds = frozenset(["a", "b"])
    batch = [Pair([2, 3], [2], "a", golds), Pair([2], [2, 4, 3], "b", golds), _pair("c"), _pair("c")]
    made = Collator(encoder.tokenizer)(batch)
    expected = torch.zeros(4, 4, dtype=torch.bool)
    for row, column in [(0, 1), (1, 0), (2, 3), (3, 2)]:
        expected[row, column] = True
    assert torch.equal(made["masked"], expected)
    assert made["mentions"]["input_ids"].shape == (4, 2)
    assert made["entities"]["attention_mask"].tolist() == [[1, 0, 0], [1, 1, 1], [1, 0, 0], [1, 0, 0]]
