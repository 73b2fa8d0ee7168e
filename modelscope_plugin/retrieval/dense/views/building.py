"""From a stream of entities to the vectors of their views."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

import numpy as np

from modelscope_plugin.data.records import Entity
from modelscope_plugin.data.views import Parts, ViewSettings, entity_parts, view_spans, view_text
from modelscope_plugin.retrieval.dense.views.merging import Span, merged_spans
from modelscope_plugin.retrieval.dense.views.table import Views
from modelscope_plugin.types import Vectors

logger = logging.getLogger(__name__)

# Views held as texts and vectors at once, so that a knowledge base of millions never sits in memory.
_CHUNK = 8192

Encode = Callable[[Sequence[str]], Vectors]


def iterate_views(
    entities: Iterable[Entity], settings: ViewSettings, encode: Encode
) -> Iterator[tuple[list[Entity], Vectors, Views]]:
    """Encode the views of a stream of entities of any length in bounded memory.

    Says at the end how many entities had no text but a name, and how many had more than fits.

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
        yield chunk, *_encoded(chunk, parts, settings, encode)
    if bare:
        logger.info("%d of %d entities have neither description nor facts, and one view", bare, count)
    if cut:
        logger.warning("%d of %d entities have more text than %d views hold; its end is left out",
                       cut, count, settings.max_views)  # fmt: skip


def _encoded(
    entities: Sequence[Entity], parts: Sequence[Parts], settings: ViewSettings, encode: Encode
) -> tuple[Vectors, Views]:
    """The vectors of all views, and the views, those of an entity together: whole, parts, then what was merged."""
    spans = [view_spans(len(each.texts)) for each in parts]
    current = [every[1:] for every in spans]
    wanted = spans
    known: list[dict[Span, Vectors]] = [{} for _ in entities]
    for turn in range(settings.merge_rounds + 1):
        if turn:
            wanted = [[] for _ in entities]
            for place, every in enumerate(current):
                if len(every) > 1:
                    vectors = np.stack([known[place][span] for span in every])
                    current[place], new = merged_spans(every, vectors, settings.merge_share)
                    wanted[place] = [current[place][one] for one in new]
            if not any(wanted):  # all are one view by now, however many rounds there are
                break
        texts = [
            view_text(entity, each.texts, span)
            for entity, each, every in zip(entities, parts, wanted, strict=True)
            for span in every
        ]
        rows = iter(encode(texts) if texts else ())
        for place, every in enumerate(wanted):
            known[place].update((span, next(rows)) for span in every)
    return (
        np.stack([vector for vectors in known for vector in vectors.values()]),
        np.array([(place, *span) for place, vectors in enumerate(known) for span in vectors], dtype=np.int32),
    )
