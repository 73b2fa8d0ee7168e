import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelscope_plugin.modeling.window import Window, mention_window

COUNT = st.integers(0, 40)
checked = settings(deadline=None, max_examples=300)


@checked
@given(COUNT, COUNT, COUNT, COUNT)
def test_window_is_never_larger_than_its_size(left: int, mention: int, right: int, size: int) -> None:
    assert sum(mention_window(left, mention, right, size)) <= size


@checked
@given(COUNT, COUNT, COUNT, COUNT)
def test_window_takes_no_more_than_there_is(left: int, mention: int, right: int, size: int) -> None:
    window = mention_window(left, mention, right, size)
    assert all(0 <= kept <= given for kept, given in zip(window, (left, mention, right), strict=True))


@checked
@given(COUNT, COUNT, COUNT, COUNT)
def test_window_keeps_the_mention_whole_when_it_fits(left: int, mention: int, right: int, size: int) -> None:
    assert mention_window(left, mention, right, size).mention == min(mention, size)


@checked
@given(COUNT, COUNT, COUNT, COUNT)
def test_window_leaves_no_room_unused_while_tokens_are_left_out(left: int, mention: int, right: int, size: int) -> None:
    assert sum(mention_window(left, mention, right, size)) == min(size, left + mention + right)


@checked
@given(COUNT, COUNT, COUNT, COUNT)
def test_window_sides_differ_only_when_one_side_is_short(left: int, mention: int, right: int, size: int) -> None:
    window = mention_window(left, mention, right, size)
    smaller_side_is_whole = window.left == left if window.left < window.right else window.right == right
    assert window.right - window.left in (0, 1) or smaller_side_is_whole


@checked
@given(COUNT, COUNT, COUNT)
def test_window_of_size_zero_is_empty(left: int, mention: int, right: int) -> None:
    assert mention_window(left, mention, right, 0) == Window(0, 0, 0)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((50, 2, 50, 12), Window(5, 2, 5)),
        ((50, 2, 50, 13), Window(5, 2, 6)),
        ((1, 2, 50, 12), Window(1, 2, 9)),
        ((50, 2, 1, 12), Window(9, 2, 1)),
        ((3, 2, 4, 12), Window(3, 2, 4)),
        ((50, 20, 50, 12), Window(0, 12, 0)),
    ],
)
def test_window_gives_the_room_of_a_short_side_to_the_other(given: tuple[int, int, int, int], expected: Window) -> None:
    assert mention_window(*given) == expected
