"""Text of others, made safe for where it is shown."""

from __future__ import annotations


def printable(text: str) -> str:
    """One line without control characters, which could write to a terminal or turn the direction of a text."""
    return " ".join("".join(one if one.isprintable() else " " for one in text).split())
