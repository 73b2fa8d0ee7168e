"""From a stream of entities to an index."""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import partial

from modelscope_plugin.data.records import Entity
from modelscope_plugin.data.views import ViewSettings
from modelscope_plugin.encoding.encoder import DEFAULT_BATCH_SIZE, EntityEncoder
from modelscope_plugin.errors import IndexMismatchError
from modelscope_plugin.index.entity_index import EntityIndex
from modelscope_plugin.index.view_building import iterate_views
from modelscope_plugin.progress import progress_bar


def build_index(
    encoder: EntityEncoder,
    entities: Iterable[Entity],
    *,
    index: EntityIndex | None = None,
    views: ViewSettings | None = None,
    batch_size: int = DEFAULT_BATCH_SIZE,
    total: int | None = None,
    show_progress_bar: bool | None = None,
) -> EntityIndex:
    """Encode entities and put them into an index.

    Args:
        encoder: The dual encoder.
        entities: The knowledge base; entities of an id that the index already holds replace it.
        index: The index to add to; by default a new one.
        views: How many vectors an entity gets; by default as many as in ``index``, in a new one each one.
        batch_size: Entities in one forward pass.
        total: Number of entities where it is known, for the progress bar.
        show_progress_bar: True, False, or None for a bar on a terminal only.

    Returns:
        The index.

    Raises:
        IndexMismatchError: If ``index`` was built with another model, another window or other views.
    """
    max_length = encoder.tokenizer.max_length
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
    with progress_bar(total, "Indexing", "entity", show_progress_bar) as bar:
        if settings.max_views > 1:
            encode = partial(encoder.encode_document, batch_size=batch_size)
            started, count = time.monotonic(), 0
            for chunk, vectors, places in iterate_views(entities, settings, encode):
                index.add(chunk, vectors, places)
                count += len(places)
                bar.update(len(chunk))
            index.seconds_per_view = (time.monotonic() - started) / count if count else None
            return index
        for chunk, vectors in encoder.iterate_documents(entities, batch_size=batch_size):
            index.add(chunk, vectors)
            bar.update(len(chunk))
    return index
