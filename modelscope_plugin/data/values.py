"""Single values of a record: numpy's as Python's, and what each becomes as a text."""

from __future__ import annotations

import math
from typing import Any

from modelscope_plugin.errors import InputError
from modelscope_plugin.text import show

# Beyond this a float no longer tells two neighbouring integers apart.
_MAX_EXACT_FLOAT = 2**53

_PLAIN = frozenset({str, list, dict, int, float, bool, type(None)})


def to_python(value: Any) -> Any:
    """Return a numpy array as a list and a numpy scalar as a Python one; all else as it is.

    Compared with a text or None, an array compares each of its items.
    """
    if type(value) in _PLAIN:
        return value
    return value.tolist() if hasattr(value, "tolist") and not isinstance(value, type) else value


def to_text(value: Any) -> str | None:
    """Write a text, number or boolean of a record as a text.

    Texts stay as they are (``"3.0"`` is ``"3.0"``). Numbers are written with the fewest digits that tell them apart,
    whole ones without a decimal point (``3.0`` becomes ``"3"``); booleans as in JSON, ``"true"`` and ``"false"``. None
    and NaN, which stands for an empty cell in pandas, are no value.

    Returns:
        The text, or None if there is no value.

    Raises:
        InputError: If it is anything else, an infinite number, or an integer of thousands of digits.
    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and math.isfinite(value):
        return str(int(value)) if value.is_integer() and abs(value) <= _MAX_EXACT_FLOAT else repr(value)
    if isinstance(value, float) and math.isnan(value):
        return None
    try:
        if isinstance(value, int):
            return str(value)
    except ValueError:  # Python's limit of digits
        pass
    raise InputError(f"{show(value)} is neither a text nor a number")


def has_value(value: Any) -> bool:
    """True unless a value is None, NaN or an empty text, such as an empty cell of a table."""
    return not (
        value is None or (isinstance(value, str) and not value) or (isinstance(value, float) and value != value)
    )
