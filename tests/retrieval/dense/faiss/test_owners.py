from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelscope_plugin.retrieval.dense.faiss.owners import VectorOwners

COUNTS = st.lists(st.integers(1, 4), max_size=8)


def owners(counts: list[int]) -> VectorOwners:
    return VectorOwners(np.array(counts, dtype=np.int64))


@given(COUNTS)
def test_vectors_of_entities_are_those_whose_entity_they_are(counts: list[int]) -> None:
    table = owners(counts)
    expected = [row for row, count in enumerate(counts) for _ in range(count)]
    assert table.entities_of(np.arange(len(expected))).tolist() == expected
    chosen = np.arange(len(counts))[::-2]
    vectors, begins = table.vectors_of(chosen)
    assert vectors.tolist() == [row for entity in chosen for row in range(len(expected)) if expected[row] == entity]
    assert [expected[vectors[begin]] for begin in begins] == chosen.tolist()
    assert (len(table), table.counts.tolist()) == (len(counts), counts)


@given(COUNTS, COUNTS, st.sets(st.integers(0, 7)))
def test_replaced_owners_are_those_of_the_counts_left(counts: list[int], added: list[int], gone: set[int]) -> None:
    removed = np.array(sorted(row for row in gone if row < len(counts)), dtype=np.int64)
    left = [count for row, count in enumerate(counts) if row not in gone]
    assert owners(counts).replace(removed, np.array(added, dtype=np.int64)).counts.tolist() == left + added


@pytest.mark.parametrize(("counts", "one_each"), [([], True), ([1, 1], True), ([1, 2], False)])
def test_one_vector_each_is_noticed(counts: list[int], one_each: bool) -> None:
    assert owners(counts).has_one_each == one_each
