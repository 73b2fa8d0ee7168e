"""From a stream of entities to an index."""

from __future__ import annotations

from collections.abc import Iterable

from modelscope_plugin.data.records import Entity
from modelscope_plugin.encoding.encoder import EntityEncoder
from modelscope_plugin.encoding.jobs import EncodingJob
from modelscope_plugin.errors import IndexMismatchError
from modelscope_plugin.index.entity_index import EntityIndex
from modelscope_plugin.progress import progress_bar


def build_index(
    encoder: EntityEncoder,
    entities: Iterable[Entity],
    *,
    index: EntityIndex | None = None,
    batch_size: int | None = None,
    job: EncodingJob | None = None,
    total: int | None = None,
    show_progress_bar: bool | None = None,
) -> EntityIndex:
    """Encode entities and put them into an index.

    Args:
        encoder: The dual encoder.
        entities: The knowledge base; entities of an id that the index already holds replace it.
        index: The index to add to; by default a new one.
        batch_size: Entities in one forward pass; by default as many as suit the device.
        job: Encodes in shards that survive an interruption, by several processes where it has them; its model is
            that of ``encoder``.
        total: Number of entities where it is known, for the progress bar.
        show_progress_bar: True, False, or None for a bar on a terminal only.

    Returns:
        The index.

    Raises:
        IndexMismatchError: If ``index`` was built with another model or another window.
    """
    max_length = encoder.tokenizer.max_length
    if index is None:
        index = EntityIndex(encoder.dimension, encoder.fingerprint, encoder.name, max_length)
    index.check_model(encoder.fingerprint, encoder.name)
    if index.max_length not in (0, max_length):
        raise IndexMismatchError(
            f"the entities of the index were cut to {index.max_length} tokens, these would be cut to {max_length}; "
            f"set max_length to {index.max_length}"
        )
    # The same model may have moved since.
    index.model = encoder.name or index.model
    with progress_bar(total, "Indexing", "entity", show_progress_bar) as bar:
        if job is None:
            chunks = encoder.iterate_documents(entities, batch_size=batch_size)
        else:
            chunks = ((shard.items, shard.vectors) for shard in job.shards("entity", entities, batch_size=batch_size))
        for chunk, vectors in chunks:
            index.add(chunk, vectors)
            bar.update(len(chunk))
    return index
