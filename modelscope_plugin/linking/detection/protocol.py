"""What a detector of mentions has to offer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeAlias, runtime_checkable

Span: TypeAlias = tuple[int, int]
"""Offsets of the first character of a mention and of the one behind its last, counted in characters from 0."""


@runtime_checkable
class Detector(Protocol):
    """Finds the mentions in texts."""

    def detect(self, texts: Sequence[str]) -> list[list[Span]]:
        """Find the mentions in many texts at once.

        Args:
            texts: The texts.

        Returns:
            One list of spans for each text, in input order; empty where a text has no mention. Spans may come in any
            order and overlap: whoever calls checks them and chooses among them (`add_mentions`). What is found in a
            text does not depend on the other texts.
        """
        ...
