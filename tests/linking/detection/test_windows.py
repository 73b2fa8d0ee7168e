"""Windows of long texts."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from modelscope_plugin.linking.detection.windows import join_spans, window_starts

SIZES = st.integers(1, 40).flatmap(
    lambda overlap: st.tuples(st.integers(overlap + 1, 3 * overlap + 2), st.just(overlap))
)


@given(st.integers(0, 500), SIZES)
def test_windows_cover_the_text_and_overlap(length: int, sizes: tuple[int, int]) -> None:
    size, overlap = sizes
    starts = window_starts(length, size, overlap)
    assert starts[0] == 0
    assert all(later - earlier == size - overlap for earlier, later in pairwise(starts))
    assert starts[-1] + size >= length
    assert len(starts) == 1 or starts[-1] + overlap < length  # no window that the one before it covers


@given(st.integers(1, 300), SIZES, st.data())
def test_every_short_mention_is_found_once(length: int, sizes: tuple[int, int], data: st.DataObject) -> None:
    size, overlap = sizes
    mentions = data.draw(
        st.lists(
            st.tuples(st.integers(0, length - 1), st.integers(1, max(overlap // 2, 1))).map(
                lambda one: (one[0], min(one[0] + one[1], length))
            ),
            unique=True,
            max_size=20,
        )
    )
    starts = window_starts(length, size, overlap)
    found = [
        [(first - start, end - start) for first, end in mentions if start <= first and end <= start + size]
        for start in starts
    ]
    assert sorted(join_spans(found, starts, overlap)) == sorted(mentions)
