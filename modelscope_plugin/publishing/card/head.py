"""The head of a model card: the hub's metadata as YAML between two lines of ``---``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import ModelCard, ModelCardData

from modelscope_plugin.publishing.text import is_line


def write_head(metadata: Mapping[str, Any]) -> str:
    """The metadata as YAML, without the lines of ``---``; keys whose value is None are left out."""
    return str(ModelCardData(**metadata).to_yaml())


def parse_card(text: str) -> tuple[dict[str, Any], str]:
    """Split a card.

    Args:
        text: The text of a README.md.

    Returns:
        The metadata, empty where the card has none that can be read, and the text below.
    """
    if not text.startswith("---"):
        return {}, text
    try:
        card = ModelCard(text)
        return card.data.to_dict(), str(card.text)  # type: ignore[no-untyped-call]
    except (ValueError, TypeError, AttributeError, yaml.YAMLError):
        return {}, text


def read_license(path: Path) -> str | None:
    """The licence that a card names; None where there is no card, or it names none in one line."""
    try:
        named = parse_card(path.read_text(encoding="utf-8"))[0].get("license")
    except (OSError, ValueError):
        return None
    return named if is_line(named) else None
