"""Encodes a stream of entities into an index."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from functools import partial

import numpy as np

from modelscope_plugin.data.records import Entity
from modelscope_plugin.data.views import ViewSettings
from modelscope_plugin.encoding.bulk.protocol import BulkEncoder
from modelscope_plugin.encoding.encoder import iterate_documents
from modelscope_plugin.encoding.protocol import Encoder
from modelscope_plugin.errors import IndexMismatchError
from modelscope_plugin.progress import progress_bar
from modelscope_plugin.retrieval.dense.views.encoding import encode_views
from modelscope_plugin.retrieval.dense.views.table import ViewRows
from modelscope_plugin.retrieval.entity_index import EntityIndex
from modelscope_plugin.types import Vectors


def index_entities(
    encoder: Encoder,
    entities: Iterable[Entity],
    *,
    index: EntityIndex | None = None,
    views: ViewSettings | None = None,
    batch_size: int | None = None,
    bulk_encoder: BulkEncoder | None = None,
    total: int | None = None,
    show_progress_bar: bool | None = None,
) -> EntityIndex:
    """Encode entities and put them into an index; `build_index` also measures it.

    Args:
        encoder: The dual encoder.
        entities: The knowledge base; entities of an id that the index already holds replace it.
        index: The index to add to; by default a new one.
        views: How many vectors an entity gets; by default as many as in ``index``, in a new one each one.
        batch_size: Texts in one forward pass; by default as many as suit the device.
        bulk_encoder: Encodes in shards that survive an interruption; its model is that of ``encoder``.
        total: Number of entities where it is known, for the progress bar.
        show_progress_bar: True, False, or None for a bar on a terminal only.

    Returns:
        The index.

    Raises:
        IndexMismatchError: If ``index`` was built with another model, another window or other views.
    """
    max_length = encoder.max_length
    if index is None:
        index = EntityIndex(encoder.dimension, encoder.fingerprint, encoder.name, max_length, views)
    index.check_model(encoder.fingerprint, encoder.name)
    if index.max_length not in (0, max_length):
        raise IndexMismatchError(
            f"the entities of the index were cut to {index.max_length} tokens, these would be cut to {max_length}; "
            f"set max_length to {index.max_length}"
        )
    settings = index.view_settings
    if views not in (None, settings):
        raise IndexMismatchError(f"the index has {settings}, not {views}; add to it without any, or build it again")
    # The same model may have moved since.
    index.model = encoder.name or index.model
    started, count = time.monotonic(), 0
    with progress_bar(total, "Indexing", "entity", show_progress_bar) as bar:
        for chunk, vectors, rows in _encode(encoder, entities, settings, batch_size, bulk_encoder):
            index.add(chunk, vectors, rows)
            count += len(vectors)
            bar.update(len(chunk))
    index.seconds_per_view = (time.monotonic() - started) / count if count and settings.max_views > 1 else None
    return index


def _encode(
    encoder: Encoder,
    entities: Iterable[Entity],
    settings: ViewSettings,
    batch_size: int | None,
    bulk_encoder: BulkEncoder | None,
) -> Iterator[tuple[Sequence[Entity], Vectors, ViewRows | None]]:
    """Some entities at a time, with their vectors, and their views where they have several."""
    if settings.max_views > 1:
        encode_texts = encoder.encode_document if bulk_encoder is None else partial(_encode_texts, bulk_encoder)
        yield from encode_views(entities, settings, partial(encode_texts, batch_size=batch_size))
    elif bulk_encoder is None:
        for chunk, vectors in iterate_documents(encoder, entities, batch_size=batch_size):
            yield chunk, vectors, None
    else:
        for shard in bulk_encoder.encode_shards("entity", entities, batch_size=batch_size):
            yield shard.items, shard.vectors, None


def _encode_texts(bulk_encoder: BulkEncoder, texts: Sequence[str], *, batch_size: int | None) -> Vectors:
    shards = [shard.vectors for shard in bulk_encoder.encode_shards("entity", texts, batch_size=batch_size)]
    return np.concatenate(shards)
