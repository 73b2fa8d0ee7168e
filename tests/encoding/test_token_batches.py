from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from modelscope_plugin.encoding.token_batches import FirstRows, make_batches

LENGTHS = st.lists(st.integers(1, 40), max_size=60)


@given(lengths=LENGTHS, budget=st.integers(1, 200))
def test_pack_puts_every_text_into_one_batch_within_the_budget(lengths: list[int], budget: int) -> None:
    batches = list(make_batches(lengths, budget))
    assert sorted(place for batch in batches for place in batch) == list(range(len(lengths)))
    for batch in batches:
        longest = lengths[batch[0]]
        assert longest == max(lengths[place] for place in batch)
        assert len(batch) == 1 or len(batch) * longest <= budget


@given(lengths=LENGTHS, budget=st.integers(1, 200))
def test_pack_goes_from_long_to_short_and_ends_a_batch_for_a_reason(lengths: list[int], budget: int) -> None:
    batches = list(make_batches(lengths, budget))
    order = [lengths[place] for batch in batches for place in batch]
    assert order == sorted(lengths, reverse=True)
    for batch, following in itertools.pairwise(batches):
        longest, next_one = lengths[batch[0]], lengths[following[0]]
        no_room = (len(batch) + 1) * longest > budget
        assert no_room or (4 * len(batch) * longest >= budget and next_one < 0.9 * longest)


def test_pack_pads_little_where_lengths_differ() -> None:
    lengths = list(range(8, 128))
    padded = sum(len(batch) * lengths[batch[0]] for batch in make_batches(lengths, 1024))
    assert padded < 1.1 * sum(lengths)


@given(lengths=LENGTHS, most=st.integers(1, 9))
def test_pack_takes_a_number_of_texts_in_place_of_the_budget(lengths: list[int], most: int) -> None:
    sizes = [len(batch) for batch in make_batches(lengths, 1, most)]
    assert all(size == most for size in sizes[:-1])
    assert sum(sizes) == len(lengths)


@given(sequences=st.lists(st.lists(st.integers(0, 3), max_size=3), max_size=40), cut=st.integers(0, 40))
def test_first_rows_equal_a_plain_search(sequences: list[list[int]], cut: int) -> None:
    rows = FirstRows()
    found = [*rows.look_up(sequences[:cut], 0), *rows.look_up(sequences[cut:], len(sequences[:cut]))]
    assert found == [sequences.index(sequence) for sequence in sequences]
