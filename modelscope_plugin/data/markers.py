"""The markers around a mention, ``[ENT_S] 大鹏 [ENT_E]``, as the ModelScope model card writes them."""

from __future__ import annotations

from modelscope_plugin.data.records import Mention, excerpt
from modelscope_plugin.errors import InputError

MENTION_START = "[ENT_S]"
MENTION_END = "[ENT_E]"

# Punctuation that a space follows in spaced scripts.
_STOPS = tuple(",.;:!?)")


def mark_mention(mention: Mention) -> str:
    """Write a mention as one text with markers.

    Args:
        mention: The mention.

    Returns:
        The text with `` [ENT_S] … [ENT_E] `` around the span, one space on each side of a marker
        (none at the ends of the text).
    """
    left, right = mention.text[: mention.start].rstrip(), mention.text[mention.end :].lstrip()
    return f"{left} {MENTION_START} {mention.surface.strip()} {MENTION_END} {right}".strip()


def parse_marked_text(text: str) -> Mention | None:
    """Read a text with markers.

    White space next to a marker belongs to the marker, except for the one space that separates two
    words of a spaced script (Latin, Hangul ...).

    Args:
        text: A text with one pair of markers, or with none.

    Returns:
        The mention, its text free of markers, or None where the text has no marker.

    Raises:
        InputError: If markers are unbalanced, reversed, nested or repeated, or hold nothing.
    """
    starts, ends = text.count(MENTION_START), text.count(MENTION_END)
    if not starts and not ends:
        return None
    if starts != 1 or ends != 1:
        raise InputError(
            f"{starts} {MENTION_START} and {ends} {MENTION_END} in {excerpt(text)}; "
            "mark exactly one mention in a text, or give offsets for several"
        )
    left, _, rest = text.partition(MENTION_START)
    surface, found, right = rest.partition(MENTION_END)
    if not found:
        raise InputError(f"{MENTION_END} is before {MENTION_START} in {excerpt(text)}; put {MENTION_START} first")
    if not surface.strip():
        raise InputError(f"nothing between {MENTION_START} and {MENTION_END} in {excerpt(text)}; a mention needs text")
    before, after = _join(left, surface), _join(surface, right)
    left, surface, right = left.rstrip(), surface.strip(), right.lstrip()
    start = len(left) + len(before)
    return Mention(f"{left}{before}{surface}{after}{right}", start, start + len(surface))


def _join(left: str, right: str) -> str:
    """Return what separates two pieces once the marker between them is removed: a space or nothing."""
    spaced = left[-1:].isspace() or right[:1].isspace()
    last, first = left.rstrip()[-1:], right.lstrip()[:1]
    return " " if spaced and (_is_spaced_script(last) or last in _STOPS) and _is_spaced_script(first) else ""


def _is_spaced_script(character: str) -> bool:
    return character.isalnum() and (character < "\u2e80" or "\uac00" <= character <= "\ud7a3")
