from __future__ import annotations

import math
from itertools import combinations, pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from modelscope_plugin.retrieval.dense.views.merging import merge_spans


def _spans(count: int) -> list[tuple[int, int]]:
    return [(place, place + 1) for place in range(count)]


def _line(*places: float) -> np.ndarray:
    return np.array([(place, 0) for place in places], dtype=np.float32)


def test_neighbours_farthest_apart_are_merged() -> None:
    spans, new = merge_spans(_spans(5), _line(0, 1, 9, 10, 16), 0.5)
    assert (spans, new) == ([(0, 1), (1, 3), (3, 5)], [1, 2])


def test_no_view_is_merged_twice_in_a_round() -> None:
    assert merge_spans(_spans(4), _line(0, 10, 19, 20), 1.0) == ([(0, 2), (2, 4)], [0, 1])


def test_equal_distances_go_by_order() -> None:
    assert merge_spans(_spans(4), _line(0, 1, 2, 3), 0.1) == ([(0, 2), (2, 3), (3, 4)], [0])


def test_one_view_alone_stays() -> None:
    assert merge_spans(_spans(1), _line(5), 1.0) == ([(0, 1)], [])


@given(st.lists(st.integers(0, 50), min_size=2, max_size=7, unique=True), st.floats(0.05, 1.0))
def test_merging_is_greedy_by_distance(places: list[int], share: float) -> None:
    spans, new = merge_spans(_spans(len(places)), _line(*places), share)
    # Plainly: of all sets of pairs that do not touch, as large as allowed, the first by falling distances.
    gaps = [abs(one - other) for one, other in pairwise(places)]
    most = math.ceil(share * len(gaps))
    free = [
        chosen
        for size in range(most + 1)
        for chosen in combinations(range(len(gaps)), size)
        if all(other - one > 1 for one, other in combinations(chosen, 2))
    ]
    best = max(free, key=lambda chosen: sorted(((gaps[pair], -pair) for pair in chosen), reverse=True))
    assert [spans[place] for place in new] == [(pair, pair + 2) for pair in best]
    assert [part for span in spans for part in range(*span)] == list(range(len(places)))


@given(st.integers(2, 12), st.floats(0.05, 1.0), st.integers(0, 9))
def test_rounds_end_in_one_view(count: int, share: float, seed: int) -> None:
    random, spans, made = np.random.default_rng(seed), _spans(count), 0
    while len(spans) > 1:
        spans, new = merge_spans(spans, random.normal(size=(len(spans), 3)).astype(np.float32), share)
        assert new
        made += len(new)
    assert (spans, made) == ([(0, count)], count - 1)
