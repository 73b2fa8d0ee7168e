"""From a stream of entities to the vectors of their views."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

import numpy as np

from modelscope_plugin.data.records import Entity
from modelscope_plugin.data.views import Parts, ViewSettings, entity_parts, view_spans, view_text
from modelscope_plugin.retrieval.dense.views.merging import Span, merge_spans
from modelscope_plugin.retrieval.dense.views.table import ViewRows
from modelscope_plugin.types import Vectors

logger = logging.getLogger(__name__)

# Views held as texts and vectors at once, so that a knowledge base of millions never sits in memory.
_CHUNK = 8192

Encode = Callable[[Sequence[str]], Vectors]


def encode_views(
    entities: Iterable[Entity], settings: ViewSettings, encode: Encode
) -> Iterator[tuple[list[Entity], Vectors, ViewRows]]:
    """Encode the views of a stream of entities of any length in bounded memory.

    Logs at the end how many entities had no text but a name, and how many had more than fits.

    Args:
        entities: The entities.
        settings: How many views, and how they are merged.
        encode: From texts to vectors.

    Yields:
        Some entities at a time, in input order, with the vectors of their views and the views, by entity.
    """
    stream = iter(entities)
    bare = cut = count = 0
    while chunk := list(islice(stream, max(1, _CHUNK // settings.max_views))):
        parts = [entity_parts(entity, settings.max_views) for entity in chunk]
        count += len(chunk)
        bare += sum(not each.texts for each in parts)
        cut += sum(each.cut for each in parts)
        yield chunk, *_encode_chunk(chunk, parts, settings, encode)
    if bare:
        logger.info("%d of %d entities have neither description nor facts, and one view", bare, count)
    if cut:
        logger.warning("%d of %d entities have more text than %d views hold; its end is left out",
                       cut, count, settings.max_views)  # fmt: skip


def _encode_chunk(
    entities: Sequence[Entity], parts: Sequence[Parts], settings: ViewSettings, encode: Encode
) -> tuple[Vectors, ViewRows]:
    """The vectors of all views, and the views: of each entity first the whole, then its parts, then merged ones."""
    new = [view_spans(len(each.texts)) for each in parts]
    current = [spans[1:] for spans in new]
    vectors: list[dict[Span, Vectors]] = [{} for _ in entities]
    for merging in range(settings.merge_rounds + 1):
        if merging:
            for position, spans in enumerate(current):
                new[position] = []
                if len(spans) > 1:
                    own = np.stack([vectors[position][span] for span in spans])
                    current[position], merged = merge_spans(spans, own, settings.merge_share)
                    new[position] = [current[position][one] for one in merged]
            if not any(new):  # nothing is left to merge, however many rounds there are
                break
        texts = [
            view_text(entity, each.texts, span)
            for entity, each, spans in zip(entities, parts, new, strict=True)
            for span in spans
        ]
        rows = iter(encode(texts) if texts else ())
        for known, spans in zip(vectors, new, strict=True):
            known.update((span, next(rows)) for span in spans)
    return (
        np.stack([vector for known in vectors for vector in known.values()]),
        np.array([(position, *span) for position, known in enumerate(vectors) for span in known], dtype=np.int32),
    )
