"""The token window around a mention."""

from __future__ import annotations

from typing import NamedTuple


class Window(NamedTuple):
    """How many tokens of each part a window takes.

    Attributes:
        left: Tokens of left context, counted back from the mention.
        mention: Tokens of the mention, counted from its beginning.
        right: Tokens of right context, counted from the mention on.
    """

    left: int
    mention: int
    right: int


def mention_window(left: int, mention: int, right: int, size: int) -> Window:
    """Centre a window on a mention.

    The mention comes first; left and right context share what is left, the right one getting the odd
    token, and what one side does not need goes to the other. A mention longer than the window loses
    its end.

    Args:
        left: Number of tokens to the left of the mention.
        mention: Number of tokens of the mention.
        right: Number of tokens to its right.
        size: Number of tokens that the window holds, markers and special tokens already taken off.

    Returns:
        The number of tokens to keep of each part; never more than there are, ``size`` at most in all.
    """
    mention = min(mention, size)
    room = size - mention
    left_share = room // 2
    right_share = room - left_share
    kept_left = min(left, left_share + max(0, right_share - right))
    return Window(kept_left, mention, min(right, room - kept_left))
