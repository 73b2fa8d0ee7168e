"""Text from other people's files or from the hub, made safe to show."""

from __future__ import annotations

import reprlib
from typing import Any

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 60


def printable(text: str) -> str:
    """Return a text as one line without control characters, which could change a terminal or the writing direction."""
    return " ".join("".join(one if one.isprintable() else " " for one in text).split())


def is_line(value: object, longest: int = 200) -> bool:
    """True for a text that is one line of printable characters, neither empty nor long."""
    return isinstance(value, str) and 0 < len(value.strip()) <= len(value) <= longest and value.isprintable()


def show(value: Any) -> str:
    """A value as it is written in Python, short enough for an error message, whatever it holds."""
    try:
        return _SHORT.repr(value)
    except ValueError:  # an integer of thousands of digits
        return f"a long {type(value).__name__}"
