"""From a stream of entities to an index."""

from __future__ import annotations

from collections.abc import Iterable

from modelscope_plugin.data.records import Entity
from modelscope_plugin.encoding.encoder import DEFAULT_BATCH_SIZE, EntityEncoder
from modelscope_plugin.index.entity_index import EntityIndex
from modelscope_plugin.progress import progress_bar


def build_index(
    encoder: EntityEncoder,
    entities: Iterable[Entity],
    *,
    index: EntityIndex | None = None,
    batch_size: int = DEFAULT_BATCH_SIZE,
    total: int | None = None,
    show_progress_bar: bool | None = None,
) -> EntityIndex:
    """Encode entities and put them into an index.

    Args:
        encoder: The dual encoder.
        entities: The knowledge base; entities of an id that the index already holds replace it.
        index: The index to add to; by default a new one.
        batch_size: Entities in one forward pass.
        total: Number of entities where it is known, for the progress bar.
        show_progress_bar: True, False, or None for a bar on a terminal only.

    Returns:
        The index.

    Raises:
        IndexMismatchError: If ``index`` was built with another model.
    """
    if index is None:
        index = EntityIndex(encoder.dimension, encoder.fingerprint, encoder.name)
    index.check_model(encoder.fingerprint, encoder.name)
    with progress_bar(total, "Indexing", "entity", show_progress_bar) as bar:
        for chunk, vectors in encoder.iterate_documents(entities, batch_size=batch_size):
            index.add(chunk, vectors)
            bar.update(len(chunk))
    return index
