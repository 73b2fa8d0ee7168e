"""What retrieval, linking and evaluation need of an encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from modelscope_plugin.data.records import Entity, Mention
from modelscope_plugin.types import Vectors


class Encoder(Protocol):
    """Turns mentions and entities into vectors of one space, to be compared by dot product."""

    @property
    def name(self) -> str:
        """Where the model came from, a folder or a hub id; an index remembers it."""

    @property
    def fingerprint(self) -> str:
        """Digest of all that decides the vectors; vectors of equal fingerprints can be compared."""

    @property
    def dimension(self) -> int:
        """Size of the vectors."""

    @property
    def max_length(self) -> int:
        """Tokens of a window, to which texts are cut."""

    def encode_query(
        self,
        mentions: Sequence[str | Mention],
        *,
        batch_size: int | None = None,
        show_progress_bar: bool | None = False,
    ) -> Vectors:
        """Encode mentions: `Mention` objects, texts with a marked mention, or plain texts.

        Args:
            mentions: The mentions.
            batch_size: Texts in one forward pass; by default as many as suit the device and their length.
            show_progress_bar: True, False, or None for a bar on a terminal only.

        Returns:
            Vectors (n, dim), rows in input order.
        """

    def encode_document(
        self,
        entities: Sequence[str | Entity],
        *,
        batch_size: int | None = None,
        show_progress_bar: bool | None = False,
    ) -> Vectors:
        """Encode entities: `Entity` objects or entity texts; arguments and result as for `encode_query`."""
