from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from modelscope_plugin.training.epoch_batches import Batch, Batches
from modelscope_plugin.training.examples import Example
from modelscope_plugin.training.losses import contrastive_loss


class _Entities:
    """Entities whose single token says which they are."""

    max_views = 1

    def __init__(self, count: int, longer: int = 0) -> None:
        self._tokens = [[place] * (1 + place * longer % 100) for place in range(count)]

    def __len__(self) -> int:
        return len(self._tokens)

    def __getitem__(self, place: int) -> list[int]:
        return self._tokens[place]

    def length(self, place: int) -> int:
        return len(self._tokens[place])


class _Examples(list[Example]):
    """Examples whose mention's first token says which they are."""

    def __init__(
        self, golds: Sequence[Sequence[int]], negatives: Sequence[Sequence[int]] = (), longer: int = 0
    ) -> None:
        negatives = negatives or [()] * len(golds)
        super().__init__(
            Example([place] * (1 + place * longer % 100), tuple(gold), tuple(negative))
            for place, (gold, negative) in enumerate(zip(golds, negatives, strict=True))
        )
        self.entities = _Entities(1 + max(max((*g, *n)) for g, n in zip(golds, negatives, strict=True)), longer)


def _batches(examples: _Examples, size: int, seed: int = 0, hard: int = 0, random: int = 0) -> Batches:
    return Batches(examples, size, seed, hard, random)  # type: ignore[arg-type]


def _found(batch: Batch) -> list[tuple[int, int]]:
    """Example and entity of each pair."""
    return [(batch.mentions[row][0], batch.candidates[column][0]) for row, column in batch.pairs.tolist()]


@given(
    golds=st.lists(st.lists(st.integers(0, 12), min_size=1, max_size=3, unique=True), min_size=1, max_size=80),
    size=st.integers(2, 8),
    seed=st.integers(0, 9),
)
def test_batches_hold_every_mention_once_with_one_of_its_golds(golds: list[list[int]], size: int, seed: int) -> None:
    batches = _batches(_Examples(golds), size, seed)
    made = list(batches.epoch(0))
    found = dict(pair for batch in made for pair in _found(batch))
    assert sorted(found) == list(range(len(golds)))
    assert all(gold in golds[place] for place, gold in found.items())
    assert len(made) == len(batches)
    assert max(len(batch.mentions) for batch in made) <= size


@given(
    golds=st.lists(st.lists(st.integers(0, 12), min_size=1, max_size=3, unique=True), min_size=1, max_size=40),
    size=st.integers(2, 8),
)
def test_candidates_stand_once_and_every_gold_of_a_mention_is_marked(golds: list[list[int]], size: int) -> None:
    negatives = [[one for one in range(13) if one not in own][:4] for own in golds]
    for batch in _batches(_Examples(golds, negatives), size, hard=2, random=3).epoch(0):
        entities = [tokens[0] for tokens in batch.candidates]
        assert len(set(entities)) == len(entities)
        expected = [[entity in golds[tokens[0]] for entity in entities] for tokens in batch.mentions]
        assert batch.golds.tolist() == expected


@given(count=st.integers(1, 60), copies=st.integers(1, 3), size=st.integers(2, 8))
def test_full_batches_hold_no_entity_twice_while_others_are_left(count: int, copies: int, size: int) -> None:
    examples = _Examples([[place % count] for place in range(count * copies)])
    repeated = sum(len(batch.candidates) < len(batch.mentions) for batch in _batches(examples, size).epoch(0))
    # Only what is left over at the end, at most a batch for each copy of an entity, may repeat one.
    assert repeated <= copies


def test_one_entity_of_all_mentions_does_not_stop_the_batches() -> None:
    made = list(_batches(_Examples([[0]] * 5000), 4).epoch(0))
    assert sum(len(batch.mentions) for batch in made) == 5000


def test_hard_negatives_are_drawn_anew_each_epoch() -> None:
    batches = _batches(_Examples([[0]], [range(1, 21)]), 2, hard=4)
    drawn = [{tokens[0] for tokens in next(iter(batches.epoch(epoch))).candidates} for epoch in range(8)]
    assert all(len(one) == 5 and 0 in one for one in drawn)
    assert len(set.union(*drawn)) > 12


def test_golds_are_drawn_anew_each_epoch() -> None:
    batches = _batches(_Examples([[0, 1, 2]]), 2)
    assert {_found(next(iter(batches.epoch(epoch))))[0][1] for epoch in range(20)} == {0, 1, 2}


def test_random_negatives_come_from_the_whole_knowledge_base() -> None:
    examples = _Examples([[0], [99]])
    drawn = {
        tokens[0] for epoch in range(40) for batch in _batches(examples, 2, random=8).epoch(epoch)
        for tokens in batch.candidates
    }  # fmt: skip
    assert len(drawn) > 80


def test_order_depends_on_seed_and_epoch_alone() -> None:
    examples = _Examples([[place] for place in range(100)], longer=7)

    def order(seed: int, epoch: int) -> list[tuple[int, int]]:
        return [pair for batch in _batches(examples, 8, seed, random=2).epoch(epoch) for pair in _found(batch)]

    assert order(1, 1) == order(1, 1)
    assert len({tuple(order(1, 0)), tuple(order(1, 1)), tuple(order(2, 0))}) == 3


@given(start=st.integers(0, 6))
def test_epoch_goes_on_with_the_same_batches(start: int) -> None:
    examples = _Examples(
        [[place] for place in range(24)], [[(place + 1) % 24, (place + 2) % 24] for place in range(24)]
    )
    batches = _batches(examples, 4, hard=1, random=3)
    whole, rest = list(batches.epoch(3)), list(batches.epoch(3, start))
    assert [batch.candidates for batch in rest] == [batch.candidates for batch in whole[start:]]
    assert all(torch.equal(one.pairs, other.pairs) for one, other in zip(rest, whole[start:], strict=True))


def test_batches_hold_texts_of_similar_length() -> None:
    examples = _Examples([[place] for place in range(128)], longer=37)
    spread = [max(map(len, batch.mentions)) - min(map(len, batch.mentions)) for batch in _batches(examples, 8).epoch(0)]
    assert sum(spread) / len(spread) < 10


@pytest.mark.parametrize("symmetric", [False, True])
def test_guessing_is_the_loss_of_equal_scores(symmetric: bool) -> None:
    for batch in _batches(_Examples([[0, 1], [2], [3], [1, 4]], [[5], [], [6], []]), 3, hard=1).epoch(0):
        vectors = torch.ones(len(batch.mentions), 2), torch.ones(len(batch.candidates), 2)
        loss = contrastive_loss(*vectors, batch.pairs, batch.golds, 1.0, symmetric)
        assert math.isclose(loss.item(), batch.guessing_loss(symmetric), rel_tol=1e-5)


def test_texts_of_a_batch_are_sorted_by_length() -> None:
    batch = next(iter(_batches(_Examples([[place] for place in range(32)], longer=37), 16, random=8).epoch(0)))
    for texts in (batch.mentions, batch.candidates):
        assert [len(tokens) for tokens in texts] == sorted(len(tokens) for tokens in texts)
