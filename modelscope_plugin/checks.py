"""Checks of single values, whose errors name the value and what would be right."""

from __future__ import annotations

import math
from collections.abc import Iterable
from operator import index
from typing import Any

from modelscope_plugin.errors import InputError, InputTypeError


def check_integer(name: str, value: Any, *, least: int | None = None, most: int | None = None) -> int:
    """Return an integer as an ``int``, numpy integers included.

    Args:
        name: What the value is called in an error.
        value: The value.
        least: The smallest value allowed.
        most: The largest value allowed.

    Raises:
        InputTypeError: If it is not an integer; True and False are not.
        InputError: If it is out of its range.
    """
    try:
        number = None if isinstance(value, bool) else index(value)
    except TypeError:
        number = None
    if number is None:
        raise InputTypeError(f"{name}={value!r} must be an integer{_bounds(least, most)}")
    if (least is not None and number < least) or (most is not None and number > most):
        raise InputError(f"{name}={value!r} must be an integer{_bounds(least, most)}")
    return number


def check_number(
    name: str,
    value: Any,
    *,
    least: float | None = None,
    most: float | None = None,
    above: float | None = None,
    below: float | None = None,
) -> float:
    """Return a finite number as a ``float``.

    Args:
        name: What the value is called in an error.
        value: The value.
        least: The smallest value allowed.
        most: The largest value allowed.
        above: What the value must be larger than.
        below: What the value must be smaller than.

    Raises:
        InputTypeError: If it is not a number; True and False are not.
        InputError: If it is not finite or out of its range.
    """
    try:
        number = None if isinstance(value, bool | str | bytes) else float(value)
    except (TypeError, ValueError):
        number = None
    except OverflowError:  # an integer of hundreds of digits
        number = math.inf
    if number is None:
        raise InputTypeError(f"{name}={value!r} must be a number{_bounds(least, most, above, below)}")
    low = (least is not None and number < least) or (above is not None and number <= above)
    high = (most is not None and number > most) or (below is not None and number >= below)
    if not math.isfinite(number) or low or high:
        raise InputError(f"{name}={value!r} must be a finite number{_bounds(least, most, above, below)}")
    return number


def check_choice(name: str, value: Any, choices: Iterable[str]) -> str:
    """Return a value that is one of the choices.

    Raises:
        InputError: If it is not one of them; the error lists them.
    """
    known = tuple(choices)
    if not isinstance(value, str) or value not in known:
        raise InputError(f"unknown {name} {value!r}; choose from {', '.join(known)}")
    return value


def _bounds(
    least: float | None = None, most: float | None = None, above: float | None = None, below: float | None = None
) -> str:
    if least is not None and most is not None:
        return f" between {least} and {most}"
    bounds = {"at least": least, "above": above, "at most": most, "below": below}
    text = " and ".join(f"{words} {bound}" for words, bound in bounds.items() if bound is not None)
    return f" of {text}" if text.startswith("at ") else text and f" {text}"
