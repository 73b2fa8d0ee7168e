"""The encoder that retrieval, linking, evaluation and training call: one small protocol."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from modelscope_plugin.data.records import Entity, Mention
from modelscope_plugin.types import Vectors


class Encoder(Protocol):
    """Turns mentions and entities into vectors of one space, to be compared by dot product."""

    @property
    def name(self) -> str:
        """Folder or hub id of the model; an index remembers it."""

    @property
    def fingerprint(self) -> str:
        """Digest of the model; only vectors of equal fingerprints can be compared."""

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
        """Encode mentions into vectors (n, dim), rows in input order; see `EntityEncoder.encode_query`."""

    def encode_document(
        self,
        entities: Sequence[str | Entity],
        *,
        batch_size: int | None = None,
        show_progress_bar: bool | None = False,
    ) -> Vectors:
        """Encode entities into vectors (n, dim), rows in input order; see `EntityEncoder.encode_document`."""
