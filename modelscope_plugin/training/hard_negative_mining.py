"""Hard negatives: entities that a model ranks high for a mention and that are not its gold."""

from __future__ import annotations

import json
import math
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from modelscope_plugin.config.training_settings import MiningSettings
from modelscope_plugin.data.entity_text import entity_text
from modelscope_plugin.data.names import names_of, normalized_name
from modelscope_plugin.data.records import Entity, Mention
from modelscope_plugin.encoding.protocol import Encoder
from modelscope_plugin.errors import InputError
from modelscope_plugin.progress import progress_bar
from modelscope_plugin.retrieval.entity_index import EntityIndex
from modelscope_plugin.storage.atomic_write import replace_file
from modelscope_plugin.types import RowIds, Vectors

# Mentions searched at once: their scores against the whole knowledge base have to fit in memory.
_CHUNK = 1024
# Entities with the very text of a gold one that are allowed for; there are rarely any.
_SAME_TEXTS = 8
# Scores of equal vectors differ by no more than this share, whatever they were multiplied together with.
_TOLERANCE = 1e-4


class Negative(NamedTuple):
    """A hard negative of a mention.

    Attributes:
        row: Row of the entity in the index.
        score: Its dot product with the mention.
        rank: Its rank among the entities that are no gold of the mention, from 1; 0 beyond the ranks looked at.
        by_name: Whether it was chosen for its name.
    """

    row: int
    score: float
    rank: int
    by_name: bool = False


@dataclass(frozen=True)
class MiningReport:
    """Figures of mining.

    Attributes:
        mentions: Mentions with a gold entity in the index.
        negatives: Hard negatives in all.
        mentions_by_negatives: How many mentions got how many.
        by_name: How many of them were chosen for their name.
        mean_margin: Mean of gold score minus negative score; below 0 the model prefers the negatives.
    """

    mentions: int
    negatives: int
    mentions_by_negatives: dict[int, int]
    by_name: int
    mean_margin: float

    def to_record(self) -> dict[str, Any]:
        """The figures as a JSON object."""
        return asdict(self)


@dataclass(frozen=True)
class MiningResult:
    """Mentions with their hard negatives.

    Attributes:
        mentions: The mentions with a gold entity in the index; what was found is among their ``negatives``,
            behind those they had.
        positions: Their positions among the mentions given.
        found: For each of them the negatives with score and rank, best first.
        gold_scores: For each of them the score of its best gold entity.
        report: The figures.
    """

    mentions: list[Mention]
    positions: list[int]
    found: list[list[Negative]]
    gold_scores: list[float]
    report: MiningReport


def mine_negatives(
    encoder: Encoder,
    index: EntityIndex,
    mentions: Iterable[Mention],
    settings: MiningSettings,
    *,
    batch_size: int | None = None,
    show_progress_bar: bool | None = None,
) -> MiningResult:
    """Find hard negatives over the whole knowledge base.

    The second stage of BLINK (Wu et al. 2020) and of the model card; the choices are those of
    ``mine_hard_negatives`` in sentence-transformers.

    Args:
        encoder: The model.
        index: Its index of the knowledge base.
        mentions: Mentions with gold entities; those without one in the index are left out.
        settings: Range, number and way of drawing. The draw of a mention depends on the seed and its position.
        batch_size: Mentions in one forward pass; by default as many as suit the device.
        show_progress_bar: True, False, or None for a bar on a terminal only.

    Returns:
        The mentions with their negatives; a mention can have fewer than wanted, or none. An entity with the very
        text of a gold entity is none.

    Raises:
        IndexMismatchError: If the index was built with another model.
        InputError: If no mention has a gold entity in the index.
    """
    index.check_model(encoder.fingerprint, encoder.name)
    rows = {one: row for row, one in enumerate(index.ids)}
    given = list(mentions)
    positions = [number for number, mention in enumerate(given) if any(one in rows for one in mention.entity_ids)]
    if not positions:
        raise InputError(f"none of the {len(given)} mentions has a gold entity in the index; use the files it is of")
    usable = [given[position] for position in positions]
    namesakes = _Namesakes(index, usable) if settings.name_negatives else None
    found: list[list[Negative]] = []
    gold_scores: list[float] = []
    with progress_bar(len(usable), "Mining", "mention", show_progress_bar) as bar:
        for start in range(0, len(usable), _CHUNK):
            part = usable[start : start + _CHUNK]
            queries = encoder.encode_query(part, batch_size=batch_size)
            golds = [{rows[one] for one in mention.entity_ids if one in rows} for mention in part]
            # Gold entities and entities of the same text have no rank, so some more have to be looked at.
            limit = settings.range_max + max(map(len, golds)) + _SAME_TEXTS
            scores, ranked = index.search_rows(queries, limit, exact=True)
            for mention, query, own, row_scores, row_ranked in zip(part, queries, golds, scores, ranked, strict=True):
                own_scores = index.scores(query, sorted(own))
                excluded = [*own, *_find_same_texts(index, own, own_scores, row_scores, row_ranked)]
                others = ~np.isin(row_ranked, excluded)
                ranking = _Ranking(query, float(own_scores.max()), row_scores[others], row_ranked[others])
                same_name = [] if namesakes is None else namesakes.find(mention, own)
                draw = random.Random(f"{settings.seed} {len(found)}")
                found.append(_choose(index, ranking, same_name, settings, draw))
                gold_scores.append(ranking.gold_score)
            bar.update(len(part))
    filled = [
        replace(mention, negatives=tuple(dict.fromkeys((*mention.negatives, *(index.ids[one.row] for one in chosen)))))
        for mention, chosen in zip(usable, found, strict=True)
    ]
    return MiningResult(filled, positions, found, gold_scores, _report(found, gold_scores))


def write_negatives(path: str | Path, result: MiningResult, index: EntityIndex) -> None:
    """Write mentions with their hard negatives as a file that training reads.

    Each line is a mention in this package's own form, with ``negatives``: id, name, score and rank of each that was
    found, behind the ids of those the mention had before.

    Args:
        path: The JSON-lines file to write, whole or not at all.
        result: What `mine_negatives` found.
        index: The index it was found in.
    """
    ids = index.ids
    with replace_file(Path(path)) as draft, open(draft, "w", encoding="utf-8") as stream:
        for mention, chosen, gold_score in zip(result.mentions, result.found, result.gold_scores, strict=True):
            record: dict[str, Any] = {"text_id": mention.text_id} if mention.text_id else {}
            record |= {"text": mention.text, "mention": mention.surface, "start": mention.start, "end": mention.end}
            record |= {"entity_ids": list(mention.entity_ids), "gold_score": round(gold_score, 4)}
            found = {ids[one.row] for one in chosen}
            record["negatives"] = [{"id": one} for one in mention.negatives if one not in found] + [
                {
                    "id": ids[one.row],
                    "name": index[one.row].name,
                    "score": round(one.score, 4),
                    "rank": one.rank or None,
                }
                for one in chosen
            ]
            stream.write(json.dumps(record, ensure_ascii=False) + "\n")


@dataclass(frozen=True)
class _Ranking:
    """The entities that a model ranks highest for a mention, best first, without its gold entities."""

    query: Vectors
    gold_score: float
    scores: Vectors
    rows: RowIds


class _Namesakes:
    """The entities of an index that share a name with a mention or its gold entities."""

    def __init__(self, index: EntityIndex, mentions: Sequence[Mention]) -> None:
        golds = {one for mention in mentions for one in mention.entity_ids}
        self._rows: defaultdict[str, list[int]] = defaultdict(list)
        self._golds: dict[str, Entity] = {}
        self._index = index
        for row, entity in enumerate(index):
            for name in names_of(entity):
                self._rows[name].append(row)
            if entity.id in golds:
                self._golds[entity.id] = entity

    def find(self, mention: Mention, golds: set[int]) -> list[int]:
        """Rows of the namesakes, without the gold entities and those of the same text."""
        own = [self._golds[one] for one in mention.entity_ids if one in self._golds]
        names = {normalized_name(mention.surface)}.union(*map(names_of, own))
        rows = {row for name in names for row in self._rows.get(name, ())} - golds
        texts = set(map(entity_text, own))
        return sorted(row for row in rows if entity_text(self._index[row]) not in texts)


def _find_same_texts(
    index: EntityIndex, golds: set[int], gold_scores: Vectors, scores: Vectors, ranked: RowIds
) -> set[int]:
    """Rows of the entities found whose text is that of a gold entity; their scores differ in the last digits only."""
    near = np.abs(scores[:, None] - gold_scores) <= _TOLERANCE * np.maximum(1.0, np.abs(gold_scores))
    rows = set(ranked[near.any(axis=1)].tolist()) - golds
    if not rows:
        return set()
    texts = {entity_text(index[row]) for row in golds}
    return {row for row in rows if entity_text(index[row]) in texts}


def _choose(
    index: EntityIndex, ranking: _Ranking, same_name: list[int], settings: MiningSettings, draw: random.Random
) -> list[Negative]:
    """Choose the negatives of one mention: first its namesakes, the rest from the range of the ranking."""
    highest = math.inf if settings.absolute_margin is None else ranking.gold_score - settings.absolute_margin
    named: list[Negative] = []
    if same_name:
        ranks = {row: rank for rank, row in enumerate(ranking.rows.tolist(), 1)}
        named = [
            Negative(row, score, ranks.get(row, 0), by_name=True)
            for row, score in zip(same_name, index.scores(ranking.query, same_name).tolist(), strict=True)
            if score <= highest
        ]
        named = sorted(named, key=_best_first)[: min(settings.name_negatives, settings.num_negatives)]
    is_usable = (ranking.scores <= highest) & ~np.isin(ranking.rows, [one.row for one in named])
    is_usable[: settings.range_min] = is_usable[settings.range_max :] = False
    positions = np.flatnonzero(is_usable).tolist()
    wanted = settings.num_negatives - len(named)
    if settings.sampling_strategy == "random":
        positions = sorted(draw.sample(positions, min(wanted, len(positions))))
    others = [Negative(int(ranking.rows[one]), float(ranking.scores[one]), one + 1) for one in positions[:wanted]]
    return sorted(named + others, key=_best_first) if named else others


def _best_first(one: Negative) -> tuple[float, int]:
    return -one.score, one.row


def _report(found: list[list[Negative]], gold_scores: list[float]) -> MiningReport:
    margins = [gold - one.score for chosen, gold in zip(found, gold_scores, strict=True) for one in chosen]
    return MiningReport(
        mentions=len(found),
        negatives=len(margins),
        mentions_by_negatives=dict(sorted(Counter(map(len, found)).items())),
        by_name=sum(one.by_name for chosen in found for one in chosen),
        mean_margin=float(np.mean(margins)) if margins else 0.0,
    )
