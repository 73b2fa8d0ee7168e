"""Measures how good vectors and names of an index are at finding its own entities."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice

import numpy as np

from modelscope_plugin.data.kb_mentions import clauses_of
from modelscope_plugin.data.names import normalized_name
from modelscope_plugin.data.records import Entity, Mention
from modelscope_plugin.encoding.protocol import Encoder
from modelscope_plugin.retrieval.building import build_index
from modelscope_plugin.retrieval.dense.tuning import Tuning
from modelscope_plugin.retrieval.entity_index import EntityIndex
from modelscope_plugin.retrieval.quality import Quality
from modelscope_plugin.retrieval.retriever import Retriever

# Mentions of each kind; twice as many change the ratio of vectors to names by some 2 hundredths.
_MENTIONS = 200
# With fewer the figures say too little.
_LEAST_MENTIONS = 30
# Entities looked at for mentions: from a name of one character none is made.
_TRIES = 2000
# Entities that are found behind this rank count as missed.
_DEPTH = 128
# Share of a name that is left out of its part.
_LEFT_OUT = 0.5
_SEPARATOR = "，"


def measure_quality(
    encoder: Encoder, index: EntityIndex, *, batch_size: int | None = None, seed: int = 42
) -> Quality | None:
    """Measure vectors and names of an index on mentions made from the names of its own entities.

    Some entities are mentioned by a part of their name, and some by their name beside as much of another one, between
    clauses of their description where they have one. The clauses are left out of the text of the entity, which is
    encoded anew for this, so that a model is not given what the mention was made of. This takes two passes over 400
    texts at most, whatever the size of the index.

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
    dense, names, counts = {}, {}, []
    for kind, change in (("part", _leave_out), ("padded", _pad)):
        made = list(islice(_make_mentions(index, change, random.Random(f"{seed} {kind}")), _MENTIONS))
        if len(made) < _LEAST_MENTIONS:
            return None
        mentions = [mention for mention, _ in made]
        rows = index.knowledge_base.rows_of([mention.entity_ids[0] for mention in mentions])
        dense[kind] = _mean_reciprocal(
            _dense_ranks(encoder, index, mentions, [entity for _, entity in made], batch_size)
        )
        rankings = Retriever(index, "lexical").rank(None, [mention.surface for mention in mentions], _DEPTH)
        found = (np.flatnonzero(ranking.rows == row) for ranking, row in zip(rankings, rows.tolist(), strict=True))
        names[kind] = _mean_reciprocal([int(ranks[0]) + 1 if len(ranks) else None for ranks in found])
        counts.append(len(made))
    return Quality(dense, names, min(counts), len(index))


def _make_mentions(
    index: EntityIndex, change: Callable[[str, str, random.Random], str], draw: random.Random
) -> Iterator[tuple[Mention, Entity]]:
    """Mentions of entities in random order, each with its entity without the clauses that stand in the mention."""
    for row in draw.sample(range(len(index)), min(_TRIES, len(index))):
        entity, other = index[row], index[draw.randrange(len(index))]
        surface = change(entity.name, other.name, draw)
        if not normalized_name(surface):
            continue
        clauses = clauses_of(entity)
        chosen = draw.sample(clauses, min(2, len(clauses)))
        before = chosen[0] + _SEPARATOR if len(chosen) == 2 and draw.random() < 0.5 else ""
        after = _SEPARATOR + chosen[-1] if chosen else ""
        mention = Mention(before + surface + after, len(before), len(before) + len(surface), (entity.id,))
        yield mention, _without(entity, chosen)


def _leave_out(name: str, _: str, draw: random.Random) -> str:
    """A part of a name: some of its characters are left out, in one place or in several."""
    count = min(max(1, round(_LEFT_OUT * len(name))), len(name))
    if draw.random() < 0.5:
        start = draw.randrange(len(name) - count + 1)
        return name[:start] + name[start + count :]
    out = set(draw.sample(range(len(name)), count))
    return "".join(letter for position, letter in enumerate(name) if position not in out)


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
    own = build_index(encoder, entities, views=index.view_settings, batch_size=batch_size, show_progress_bar=False)
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
