"""What a model card has to have before it goes up."""

from __future__ import annotations

from modelscope_plugin.errors import FolderCheckError
from modelscope_plugin.publishing.card.head import parse_card

# The hub hides the page of a model whose card is shorter.
_SHORTEST = 200
_METADATA = ("tasks", "frameworks", "license", "language")


def check_card(text: str) -> None:
    """Check what the hub needs of a card: its metadata, and more than 200 characters.

    Args:
        text: The card.

    Raises:
        FolderCheckError: If something is missing.
    """
    metadata, body = parse_card(text)
    if not metadata:
        raise FolderCheckError("README.md does not begin with the hub's metadata between two lines of ---")
    if missing := [key for key in _METADATA if not metadata.get(key)]:
        raise FolderCheckError(f"the metadata of README.md has no {missing[0]}")
    if len(body.strip()) <= _SHORTEST:
        raise FolderCheckError(f"README.md has at most {_SHORTEST} characters; the hub would hide the model")
