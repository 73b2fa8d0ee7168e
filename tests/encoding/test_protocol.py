"""Index building and evaluation take any object with the members of the protocols."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from conftest import ENTITIES, MENTIONS

from modelscope_plugin.data import Entity, Mention
from modelscope_plugin.encoding.bulk.protocol import BulkEncoder, Item, Shard
from modelscope_plugin.encoding.protocol import Encoder
from modelscope_plugin.evaluation.evaluate import evaluate
from modelscope_plugin.retrieval.building import build_index
from modelscope_plugin.types import Side, Vectors


class IdEncoder:
    """Encodes an entity, and a mention of it, as the unit vector of its number."""

    name = fingerprint = "ids"
    dimension, max_length = len(ENTITIES), 32

    def encode_query(
        self,
        mentions: Sequence[str | Mention],
        *,
        batch_size: int | None = None,
        show_progress_bar: bool | None = False,
    ) -> Vectors:
        return self._encode([one.entity_ids[0] for one in mentions if isinstance(one, Mention)])

    def encode_document(
        self,
        entities: Sequence[str | Entity],
        *,
        batch_size: int | None = None,
        show_progress_bar: bool | None = False,
    ) -> Vectors:
        return self._encode([one.id for one in entities if isinstance(one, Entity)])

    def _encode(self, ids: list[str]) -> Vectors:
        numbers = [entity.id for entity in ENTITIES]
        return np.eye(self.dimension, dtype=np.float32)[[numbers.index(one) for one in ids]]


class MemoryBulkEncoder:
    """Encodes one item after the other and keeps nothing."""

    encoder = IdEncoder()

    def encode_shards(self, side: Side, items: Iterable[Item], *, batch_size: int | None = None) -> Iterator[Shard]:
        for item in items:
            assert isinstance(item, Entity)
            yield Shard([item], self.encoder.encode_document([item]), is_reused=False)

    def remove_shards(self) -> None:
        """There are none."""

    def __enter__(self) -> MemoryBulkEncoder:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing was started."""


def test_an_encoder_of_the_caller_builds_an_index_and_is_evaluated() -> None:
    encoder: Encoder = IdEncoder()
    index = build_index(encoder, ENTITIES, show_progress_bar=False)
    assert evaluate(encoder, index, MENTIONS, ks=(1,)).recall[1] == 1


def test_a_bulk_encoder_of_the_caller_builds_an_index() -> None:
    bulk_encoder: BulkEncoder = MemoryBulkEncoder()
    with bulk_encoder:
        index = build_index(bulk_encoder.encoder, ENTITIES, bulk_encoder=bulk_encoder, show_progress_bar=False)
    assert list(index) == ENTITIES
