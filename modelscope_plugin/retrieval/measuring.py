"""Measures how good vectors and names of an index are at finding its own entities."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice

import numpy as np

from modelscope_plugin.data.kb_mentions import clauses_of
from modelscope_plugin.data.names import normalized_name
from modelscope_plugin.data.records import Entity, Mention
from modelscope_plugin.encoding.protocol import Encoder
from modelscope_plugin.retrieval.dense.faiss.search_choice import RENEW_SHARE
from modelscope_plugin.retrieval.dense.tuning import Tuning
from modelscope_plugin.retrieval.entity_index import EntityIndex
from modelscope_plugin.retrieval.indexing import index_entities
from modelscope_plugin.retrieval.quality import Quality
from modelscope_plugin.retrieval.retriever import Retriever

# Mentions; another draw of as many changes the ratio of vectors to names by one or two hundredths.
_MENTIONS = 300
# With fewer the figures say too little.
_LEAST_MENTIONS = 30
# Entities looked at for mentions: of a name of punctuation none is made.
_TRIES = 2000
# Entities that are found behind this rank count as missed.
_DEPTH = 128
_SEPARATOR = "，"


def measure_quality(
    encoder: Encoder, index: EntityIndex, *, batch_size: int | None = None, seed: int = 42
) -> Quality | None:
    """Measure vectors and names of an index on mentions made from the names of its own entities.

    Some entities are mentioned by their name beside as much of another name, between clauses of their description where
    they have one. The clauses are left out of the text of the entity, which is encoded anew for this, so that a model
    is not given what the mention was made of. This encodes 600 texts at most, whatever the size of the index.

    Args:
        encoder: The dual encoder of the index.
        index: The index.
        batch_size: Texts in one forward pass; by default as many as suit the device.
        seed: Seed of the draw, which alone decides.

    Returns:
        The quality of both; None where fewer than 30 entities have a name to make a mention of.

    Raises:
        IndexMismatchError: If the index was built with another model.
    """
    index.check_model(encoder.fingerprint, encoder.name)
    made = list(islice(_make_mentions(index, random.Random(seed)), _MENTIONS))
    if len(made) < _LEAST_MENTIONS:
        return None
    mentions, entities = zip(*made, strict=True)
    dense = _dense_ranks(encoder, index, mentions, entities, batch_size)
    rankings = Retriever(index, "lexical").rank(None, [mention.surface for mention in mentions], _DEPTH)
    names: list[int | None] = []
    for ranking, entity in zip(rankings, entities, strict=True):
        ranks = np.flatnonzero(ranking.rows == index.row_of(entity.id))
        names.append(int(ranks[0]) + 1 if len(ranks) else None)
    return Quality(_mean_reciprocal(dense), _mean_reciprocal(names), len(made), len(index))


def update_quality(encoder: Encoder, index: EntityIndex, *, batch_size: int | None = None) -> None:
    """Measure the quality of an index (`EntityIndex.quality`) where it was not, or of one of quite another size.

    Args:
        encoder: As for `measure_quality`.
        index: As for `measure_quality`.
        batch_size: As for `measure_quality`.

    Raises:
        IndexMismatchError: If the index was built with another model.
    """
    measured = 0 if index.quality is None else index.quality.entities
    if abs(len(index) - measured) > RENEW_SHARE * measured:
        index.quality = measure_quality(encoder, index, batch_size=batch_size)


def _make_mentions(index: EntityIndex, draw: random.Random) -> Iterator[tuple[Mention, Entity]]:
    """Mentions of entities in random order, each with its entity without the clauses that stand in the mention."""
    for row in draw.sample(range(len(index)), min(_TRIES, len(index))):
        entity, other = index[row], index[draw.randrange(len(index))]
        surface = _pad(entity.name, other.name, draw)
        if not normalized_name(surface):
            continue
        clauses = clauses_of(entity)
        chosen = draw.sample(clauses, min(2, len(clauses)))
        before = chosen[0] + _SEPARATOR if len(chosen) == 2 and draw.random() < 0.5 else ""
        after = _SEPARATOR + chosen[-1] if chosen else ""
        mention = Mention(before + surface + after, len(before), len(before) + len(surface), (entity.id,))
        yield mention, _without(entity, chosen)


def _pad(name: str, other: str, draw: random.Random) -> str:
    """A name beside as much of another one."""
    length = min(len(name), len(other))
    start = draw.randrange(len(other) - length + 1)
    padding = other[start : start + length]
    return name + padding if draw.random() < 0.5 else padding + name


def _without(entity: Entity, clauses: Sequence[str]) -> Entity:
    """An entity without some clauses of its description and facts."""

    def strip(text: str) -> str:
        for clause in clauses:
            text = text.replace(clause, "")
        return text

    facts = tuple((predicate, strip(value)) for predicate, value in entity.facts)
    return replace(entity, description=strip(entity.description), facts=facts)


def _dense_ranks(
    encoder: Encoder,
    index: EntityIndex,
    mentions: Sequence[Mention],
    entities: Sequence[Entity],
    batch_size: int | None,
) -> list[int | None]:
    """The rank of each entity, as it is given here, among those of the index; None behind the depth."""
    queries = encoder.encode_query(mentions, batch_size=batch_size)
    own = index_entities(encoder, entities, views=index.view_settings, batch_size=batch_size, show_progress_bar=False)
    if index.tuning != Tuning():
        precision, dimensions = index.tuning.precision, index.tuning.truncate_dim or None
        own.tune(queries, search="exact", precision=precision, truncate_dim=dimensions)
    ranks: list[int | None] = []
    for query, entity, scores, rows in zip(queries, entities, *index.search_rows(queries, _DEPTH), strict=True):
        score = own.scores(query, [own.row_of(entity.id)])[0]
        rank = 1 + int((scores[rows != index.row_of(entity.id)] > score).sum())
        ranks.append(rank if rank <= _DEPTH else None)
    return ranks


def _mean_reciprocal(ranks: Sequence[int | None]) -> float:
    return sum(1 / rank for rank in ranks if rank is not None) / len(ranks)
