"""From a stream of entities to an index that is measured and tuned."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import Any

from modelscope_plugin.data.kb_mentions import mentions_of_entity
from modelscope_plugin.data.records import Entity, Mention
from modelscope_plugin.encoding.protocol import Encoder
from modelscope_plugin.retrieval.dense.faiss.search_choice import choose_kind
from modelscope_plugin.retrieval.dense.tuning import Tuning
from modelscope_plugin.retrieval.entity_index import EntityIndex
from modelscope_plugin.retrieval.indexing import index_entities
from modelscope_plugin.retrieval.measuring import update_quality

# Mentions that recall is measured on; more do not change its digits that are printed.
_QUERIES = 1000


def build_index(encoder: Encoder, entities: Iterable[Entity], **options: Any) -> EntityIndex:
    """Encode entities and put them into an index, ready to be searched in any way.

    How good vectors and names are is measured on the index itself (`update_quality`), which hybrid retrieval needs.

    Args:
        encoder: The dual encoder.
        entities: The knowledge base; entities of an id that the index already holds replace it.
        **options: The keywords of `index_entities`: ``index`` to add to, ``views``, ``batch_size``, ``bulk_encoder``,
            ``total``, ``show_progress_bar``.

    Returns:
        The index.

    Raises:
        IndexMismatchError: If ``index`` was built with another model, another window or other views.
    """
    index = index_entities(encoder, entities, **options)
    update_quality(encoder, index, batch_size=options.get("batch_size"))
    return index


def tune_index(
    encoder: Encoder,
    index: EntityIndex,
    mentions: Iterable[Mention] | None = None,
    *,
    search: str = "auto",
    precision: str = "float32",
    truncate_dim: int | None = None,
    batch_size: int | None = None,
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
        batch_size: Mentions in one forward pass; by default as many as suit the device.
        seed: Seed of the draw.

    Returns:
        What was chosen and measured.

    Raises:
        IndexMismatchError: If the index was built with another model.
        InputError: If a choice is not usable, or there are fewer than 2 mentions.
    """
    index.check_model(encoder.fingerprint, encoder.name)
    exact = choose_kind(search, len(index), len(index.vectors), truncate_dim or index.dimension) == "exact"
    if exact and precision == "float32" and truncate_dim in (None, index.dimension):
        queries = encoder.encode_query([])
    else:
        sample = _draw(mentions, seed) if mentions is not None else _make_mentions(index, seed)
        queries = encoder.encode_query(sample, batch_size=batch_size)
    return index.tune(queries, search=search, precision=precision, truncate_dim=truncate_dim)


def _draw(mentions: Iterable[Mention], seed: int) -> Sequence[Mention]:
    distinct = list(dict.fromkeys(mentions))
    return random.Random(seed).sample(distinct, min(_QUERIES, len(distinct)))


def _make_mentions(index: EntityIndex, seed: int) -> Sequence[Mention]:
    """A mention of each of some entities: one of its names, beside words of its description where it has one."""
    draw = random.Random(seed)
    rows = draw.sample(range(len(index)), min(_QUERIES, len(index)))
    made = (list(mentions_of_entity(index[row], 2, seed)) for row in rows)
    return [draw.choice(own) for own in made if own]
