"""Text of others, made safe for where it is shown."""

from __future__ import annotations


def printable(text: str) -> str:
    """One line without control characters, which could write to a terminal or turn the direction of a text."""
    return " ".join("".join(one if one.isprintable() else " " for one in text).split())


def is_line(value: object, longest: int = 200) -> bool:
    """True for a text that is one line of printable characters, neither empty nor long."""
    return isinstance(value, str) and 0 < len(value.strip()) <= len(value) <= longest and value.isprintable()
