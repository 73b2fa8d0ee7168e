"""What a model card has to have before it goes up."""

from __future__ import annotations

import re
import textwrap
from typing import Any

from modelscope_plugin.errors import FolderCheckError

# The hub hides the page of a model whose card is shorter.
_SHORTEST = 200
_METADATA = ("tasks", "frameworks", "license", "language")
_FENCE = re.compile(
    r"^[ \t]*(?P<fence>`{3,}|~{3,})[ \t]*(?:python|py)[0-9]*\b[^\n]*\n(?P<code>.*?)^[ \t]*(?P=fence)[ \t]*$",
    re.DOTALL | re.MULTILINE | re.IGNORECASE,
)


def check_card(text: str) -> None:
    """Check what the hub needs of a card: its metadata, and more than 200 characters.

    Args:
        text: The card.

    Raises:
        FolderCheckError: If something is missing.
    """
    import yaml

    parts = text.split("---\n", 2)
    try:
        metadata: Any = yaml.safe_load(parts[1]) if len(parts) == 3 and not parts[0].strip() else None
    except yaml.YAMLError:
        metadata = None
    if not isinstance(metadata, dict):
        raise FolderCheckError("README.md does not begin with the hub's metadata between two lines of ---")
    if missing := [key for key in _METADATA if not metadata.get(key)]:
        raise FolderCheckError(f"the metadata of README.md has no {missing[0]}")
    if len(parts[2].strip()) <= _SHORTEST:
        raise FolderCheckError(f"README.md has at most {_SHORTEST} characters; the hub would hide the model")


def python_blocks(text: str) -> list[str]:
    """The Python blocks of a card.

    Args:
        text: The card.

    Returns:
        The code of each block fenced as Python, in their order.
    """
    return [textwrap.dedent(found["code"]) for found in _FENCE.finditer(text)]
