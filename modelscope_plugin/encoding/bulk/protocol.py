"""Encoding of many texts in resumable shards: one small protocol; each engine is a file in this folder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol, TypeAlias

from modelscope_plugin.data.records import Entity, Mention
from modelscope_plugin.encoding.protocol import Encoder
from modelscope_plugin.types import Side, Vectors

Item: TypeAlias = str | Mention | Entity
"""A text, mention or entity to encode."""


class Shard(NamedTuple):
    """Some items of a stream with their vectors.

    Attributes:
        items: The items, in input order.
        vectors: Their vectors (n, dim).
        is_reused: Whether an earlier run had encoded them.
    """

    items: list[Any]
    vectors: Vectors
    is_reused: bool


class BulkEncoder(AbstractContextManager["BulkEncoder"], Protocol):
    """Encodes streams of any length, in bounded memory, into shards that survive an interruption.

    It is a context manager; processes that it started end with the context.
    """

    @property
    def encoder(self) -> Encoder:
        """The same model, for single texts."""

    def encode_shards(self, side: Side, items: Iterable[Item], *, batch_size: int | None = None) -> Iterator[Shard]:
        """Encode a stream, except for the shards that an earlier run has left.

        Args:
            side: ``mention`` or ``entity``.
            items: The items.
            batch_size: Texts in one forward pass; by default as many as suit the device.

        Yields:
            The shards, in input order.

        Raises:
            WorkerError: If a process that encodes died.
        """

    def remove_shards(self) -> None:
        """Remove the shards, once what they were made for is written."""
