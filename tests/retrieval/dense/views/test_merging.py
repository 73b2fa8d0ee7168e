from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from modelscope_plugin.retrieval.dense.views.merging import Span, merge_spans


def _spans(count: int) -> list[Span]:
    return [(position, position + 1) for position in range(count)]


def _line(*positions: float) -> np.ndarray:
    return np.array([(position, 0) for position in positions], dtype=np.float32)


def test_views_farthest_from_the_next_one_are_merged_with_it() -> None:
    spans, new = merge_spans(_spans(5), _line(0, 1, 9, 10, 16), 0.5)
    assert (spans, new) == ([(0, 1), (1, 3), (2, 3), (3, 5), (4, 5)], [1, 3])


def test_merged_views_can_overlap() -> None:
    assert merge_spans(_spans(3), _line(0, 10, 19), 1.0) == ([(0, 2), (1, 3), (2, 3)], [0, 1])


def test_share_counts_views_and_is_rounded_down() -> None:
    assert merge_spans(_spans(4), _line(0, 10, 19, 20), 0.49)[1] == [0]
    assert merge_spans(_spans(4), _line(0, 10, 19, 20), 0.5)[1] == [0, 1]
    assert merge_spans(_spans(2), _line(0, 10), 0.4)[1] == []


def test_equal_distances_go_by_order() -> None:
    assert merge_spans(_spans(4), _line(0, 1, 2, 3), 0.25) == ([(0, 2), (1, 2), (2, 3), (3, 4)], [0])


def test_view_that_holds_the_next_one_stays() -> None:
    spans = [(0, 3), (1, 3), (2, 3)]
    assert merge_spans(spans, _line(0, 10, 11), 0.4) == (spans, [])


def test_one_view_alone_stays() -> None:
    assert merge_spans(_spans(1), _line(5), 1.0) == ([(0, 1)], [])


def _merge_plainly(views: list[list[int]], vectors: np.ndarray, share: float) -> list[list[int]]:
    """The published rule on lists of sentence numbers."""
    distances = [float(((one - other) ** 2).sum()) for one, other in pairwise(vectors)]
    farthest = sorted(range(len(distances)), key=lambda pair: -distances[pair])[: int(len(vectors) * share)]
    following = []
    for position, view in enumerate(views):
        more = views[position + 1] if position in farthest else []
        following.append(view + [sentence for sentence in more if sentence > view[-1]])
    return following


@given(st.integers(2, 9), st.floats(0.05, 1.0), st.integers(1, 6), st.integers(0, 9))
def test_rounds_merge_as_the_published_rule_does(count: int, share: float, rounds: int, seed: int) -> None:
    random, spans, seen = np.random.default_rng(seed), _spans(count), set[Span]()
    plain = [[sentence] for sentence in range(count)]
    for _ in range(rounds):
        # Whole numbers, so that some distances are equal.
        vectors = random.integers(0, 4, (count, 2)).astype(np.float32)
        spans, new = merge_spans(spans, vectors, share)
        plain = _merge_plainly(plain, vectors, share)
        assert [list(range(*span)) for span in spans] == plain
        # No view is made twice, within a round or in several.
        made = {spans[position] for position in new}
        assert len(made) == len(new)
        assert not made & seen
        seen |= made
