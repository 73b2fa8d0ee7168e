"""Splits one text that holds several aliases, types or ids."""

from __future__ import annotations

import json
import re
from typing import Any

LIST_SEPARATOR = "|"

# Enumeration commas and full-width semicolons, but not those inside of titles, quotations and brackets:
# 《老人、海》、渔夫 is two names. An opening sign is followed for a title's length only.
_PIECE = re.compile(
    r"(?:《[^》]{0,64}》|〈[^〉]{0,64}〉|“[^”]{0,64}”|「[^」]{0,64}」|（[^）]{0,64}）|\([^)]{0,64}\)|\"[^\"]{0,64}\"|[^、；])+"
)
_MAYBE_SEPARATOR = re.compile("[,，;]")


def split_list(text: str, separator: str | None = None) -> list[Any]:
    """Split a text that may hold several values.

    Args:
        text: The text of a list field.
        separator: What separates them. By default a text that is a JSON list is that list; else ``|`` separates
            where there is one; else ``、`` and ``；`` do, outside of 《》, 〈〉, quotation marks and brackets. A comma
            or ``;`` may be part of a name and separates only if it is named here.

    Returns:
        The values, untrimmed, those of a JSON list of whatever type.
    """
    if separator:
        return text.split(separator)
    if text.startswith("[") and text.endswith("]"):
        try:
            values = json.loads(text)
        except (ValueError, RecursionError):
            return [text]
        return values if isinstance(values, list) else [text]
    if LIST_SEPARATOR in text:
        return text.split(LIST_SEPARATOR)
    if "、" in text or "；" in text:
        return _PIECE.findall(text)
    return [text]


def may_hold_several(text: str) -> bool:
    """True if a text that is read as one value has a comma or semicolon, which may be meant as a separator."""
    return _MAYBE_SEPARATOR.search(text) is not None
