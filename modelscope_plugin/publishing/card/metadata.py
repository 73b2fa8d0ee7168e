"""The hub's metadata of a model card: YAML between two lines of ``---`` at the top of README.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import ModelCard

from modelscope_plugin.errors import FolderCheckError
from modelscope_plugin.text import is_line

# The hub hides the page of a model whose card is shorter.
_SHORTEST = 200
_REQUIRED = ("tasks", "frameworks", "license", "language")


def parse_card(text: str) -> tuple[dict[str, Any], str]:
    """Split a card into its metadata and the text below.

    Args:
        text: The text of a README.md.

    Returns:
        The metadata, empty if the card has none or it cannot be read; the text below.
    """
    if not text.startswith("---"):
        return {}, text
    try:
        card = ModelCard(text)
        return card.data.to_dict(), str(card.text)  # type: ignore[no-untyped-call]
    except (ValueError, TypeError, AttributeError, RecursionError, yaml.YAMLError):
        return {}, text


def check_card(text: str) -> None:
    """Check that a card has what the hub needs: metadata, and more than 200 characters.

    Args:
        text: The text of a README.md.

    Raises:
        FolderCheckError: If something is missing.
    """
    metadata, body = parse_card(text)
    if not metadata:
        raise FolderCheckError("README.md does not begin with the hub's metadata between two lines of ---")
    if missing := [key for key in _REQUIRED if not metadata.get(key)]:
        raise FolderCheckError(f"the metadata of README.md has no {missing[0]}")
    if len(body.strip()) <= _SHORTEST:
        raise FolderCheckError(f"README.md has at most {_SHORTEST} characters; the hub would hide the model")


def read_license(path: Path) -> str | None:
    """Return the licence that a card names; None if there is no card, or no licence of one line in it."""
    try:
        terms = parse_card(path.read_text(encoding="utf-8"))[0].get("license")
    except (OSError, ValueError):
        return None
    return terms if is_line(terms) else None
