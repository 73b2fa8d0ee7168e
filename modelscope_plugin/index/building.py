"""From a stream of entities to an index."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence

from modelscope_plugin.data.kb_mentions import mentions_of_entity
from modelscope_plugin.data.records import Entity, Mention
from modelscope_plugin.encoding.encoder import DEFAULT_BATCH_SIZE, EntityEncoder
from modelscope_plugin.errors import IndexMismatchError
from modelscope_plugin.index.entity_index import EntityIndex
from modelscope_plugin.index.tuning import Tuning, chosen_kind
from modelscope_plugin.progress import progress_bar

# Mentions that recall is measured on; more do not change its digits that are printed.
_QUERIES = 1000


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
        for chunk, vectors in encoder.iterate_documents(entities, batch_size=batch_size):
            index.add(chunk, vectors)
            bar.update(len(chunk))
    return index


def tune_index(
    encoder: EntityEncoder,
    index: EntityIndex,
    mentions: Iterable[Mention] | None = None,
    *,
    search: str = "auto",
    precision: str = "float32",
    truncate_dim: int | None = None,
    batch_size: int = DEFAULT_BATCH_SIZE,
    seed: int = 42,
) -> Tuning:
    """Choose how an index is searched, and measure the recall that it costs on mentions.

    Args:
        encoder: The dual encoder of the index.
        index: The index.
        mentions: Mentions like those to come, of which some are drawn; without them, names and descriptions of the
            entities make some.
        search: As for `EntityIndex.tune`; so are ``precision`` and ``truncate_dim``.
        precision: ``float32``, ``float16`` or ``int8``.
        truncate_dim: Dimensions to keep; None for all.
        batch_size: Mentions in one forward pass.
        seed: Seed of the draw.

    Returns:
        What was chosen and measured.

    Raises:
        IndexMismatchError: If the index was built with another model.
        InputError: If a choice is not usable, or there are fewer than 2 mentions.
    """
    index.check_model(encoder.fingerprint, encoder.name)
    exact = chosen_kind(search, len(index), truncate_dim or index.dimension) == "exact"
    if exact and precision == "float32" and truncate_dim in (None, index.dimension):
        queries = encoder.encode_query([])
    else:
        drawn = _drawn(mentions, seed) if mentions is not None else _own_mentions(index, seed)
        queries = encoder.encode_query(drawn, batch_size=batch_size)
    return index.tune(queries, search=search, precision=precision, truncate_dim=truncate_dim)


def _drawn(mentions: Iterable[Mention], seed: int) -> Sequence[Mention]:
    distinct = list(dict.fromkeys(mentions))
    return random.Random(seed).sample(distinct, min(_QUERIES, len(distinct)))


def _own_mentions(index: EntityIndex, seed: int) -> Sequence[Mention]:
    """A mention of each of some entities: one of its names, beside words of its description where it has one."""
    draw = random.Random(seed)
    rows = draw.sample(range(len(index)), min(_QUERIES, len(index)))
    made = (list(mentions_of_entity(index[row], 2, seed)) for row in rows)
    return [draw.choice(own) for own in made if own]
