"""Hard negatives: entities that a model ranks high for a mention and that are not its gold."""

from __future__ import annotations

import json
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from modelscope_plugin.data.names import names_of, normalized_name
from modelscope_plugin.data.records import Mention
from modelscope_plugin.encoding.encoder import DEFAULT_BATCH_SIZE, EntityEncoder
from modelscope_plugin.errors import InputError
from modelscope_plugin.files import replace_file
from modelscope_plugin.index.entity_index import EntityIndex
from modelscope_plugin.progress import progress_bar
from modelscope_plugin.trainers.settings import MiningSettings

# Mentions searched at once: their scores against the whole knowledge base have to fit in memory.
_CHUNK = 1024


class Negative(NamedTuple):
    """A hard negative of a mention.

    Attributes:
        row: Row of the entity in the index.
        score: Its dot product with the mention.
        rank: Its place among the entities that are no gold of the mention, from 1; 0 where it was taken for
            its name and has none in the range.
    """

    row: int
    score: float
    rank: int


@dataclass(frozen=True)
class MiningReport:
    """What mining gave.

    Attributes:
        mentions: Mentions with a gold entity in the index.
        negatives: Hard negatives in all.
        mentions_by_negatives: How many mentions got how many.
        by_name: How many of the negatives were taken for their name.
        mean_margin: Mean of gold score minus negative score; below 0 the model has them the wrong way round.
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
class Mined:
    """Mentions with their hard negatives.

    Attributes:
        mentions: The mentions with a gold entity in the index, with ``negatives`` filled in.
        found: For each of them the negatives with score and rank, best first.
        gold_scores: For each of them the score of its best gold entity.
        report: The figures.
    """

    mentions: list[Mention]
    found: list[list[Negative]]
    gold_scores: list[float]
    report: MiningReport


def mine_negatives(
    encoder: EntityEncoder,
    index: EntityIndex,
    mentions: Iterable[Mention],
    settings: MiningSettings,
    *,
    batch_size: int = DEFAULT_BATCH_SIZE,
    show_progress_bar: bool | None = None,
) -> Mined:
    """Find hard negatives over the whole knowledge base.

    The second stage of BLINK (Wu et al. 2020) and of the model card; the choices are those of
    ``mine_hard_negatives`` in sentence-transformers.

    Args:
        encoder: The model whose mistakes are looked for.
        index: Its index of the knowledge base.
        mentions: Mentions with gold entities; those without one in the index are left out.
        settings: Range, number and way of drawing. The draw of a mention depends on the seed and its place.
        batch_size: Mentions in one forward pass.
        show_progress_bar: True, False, or None for a bar on a terminal only.

    Returns:
        The mentions with their negatives; a mention can have fewer than wanted, or none.

    Raises:
        IndexMismatchError: If the index was built with another model.
        InputError: If no mention has a gold entity in the index.
    """
    index.check_model(encoder.fingerprint, encoder.name)
    rows = {one: row for row, one in enumerate(index.ids)}
    given = list(mentions)
    usable = [mention for mention in given if any(one in rows for one in mention.entity_ids)]
    if not usable:
        raise InputError(f"none of the {len(given)} mentions has a gold entity in the index; use the files it is of")
    namesakes = _Namesakes(index, usable) if settings.name_negatives else None
    found: list[list[Negative]] = []
    gold_scores: list[float] = []
    with progress_bar(len(usable), "Mining", "mention", show_progress_bar) as bar:
        for start in range(0, len(usable), _CHUNK):
            part = usable[start : start + _CHUNK]
            queries = encoder.encode_query(part, batch_size=batch_size)
            golds = [{rows[one] for one in mention.entity_ids if one in rows} for mention in part]
            # Gold entities have no rank, so as many more have to be looked at.
            most = settings.range_max + max(map(len, golds))
            scores, ranked = index.search_rows(queries, most)
            for place, mention in enumerate(part):
                query, own = queries[place], golds[place]
                gold_score = float(max(index.vectors[sorted(own)] @ query))
                others = [
                    (int(row), float(score))
                    for row, score in zip(ranked[place], scores[place], strict=True)
                    if int(row) not in own
                ]
                pool = [
                    Negative(row, score, rank)
                    for rank, (row, score) in enumerate(others[: settings.range_max], 1)
                    if rank > settings.range_min
                ]
                if settings.absolute_margin is not None:
                    pool = [one for one in pool if one.score <= gold_score - settings.absolute_margin]
                named: list[Negative] = []
                if namesakes is not None:
                    ranks = {one.row: one.rank for one in pool}
                    alike = namesakes.of(mention, own)
                    alike_scores = index.vectors[alike] @ query if alike else ()
                    order = sorted(zip(alike, map(float, alike_scores), strict=True), key=lambda one: (-one[1], one[0]))
                    named = [Negative(row, score, ranks.get(row, 0)) for row, score in order[: settings.name_negatives]]
                draw = random.Random(f"{settings.seed} {len(found)}")
                found.append(_chosen(named, pool, settings, draw))
                gold_scores.append(gold_score)
            bar.update(len(part))
    filled = [
        replace(mention, negatives=tuple(index.ids[one.row] for one in chosen))
        for mention, chosen in zip(usable, found, strict=True)
    ]
    return Mined(filled, found, gold_scores, _report(found, gold_scores))


def write_negatives(path: str | Path, mined: Mined, index: EntityIndex) -> None:
    """Write mentions with their hard negatives as a file that training reads.

    Each line is a mention in this package's own form, with ``negatives``: id, name, score and rank of each.

    Args:
        path: The JSON-lines file to write, whole or not at all.
        mined: What `mine_negatives` found.
        index: The index it was found in.
    """
    with replace_file(Path(path)) as draft, open(draft, "w", encoding="utf-8") as stream:
        for mention, chosen, gold_score in zip(mined.mentions, mined.found, mined.gold_scores, strict=True):
            record: dict[str, Any] = {"text_id": mention.text_id} if mention.text_id else {}
            record |= {"text": mention.text, "mention": mention.surface, "start": mention.start, "end": mention.end}
            record |= {"entity_ids": list(mention.entity_ids), "gold_score": round(gold_score, 4)}
            record["negatives"] = [
                {
                    "id": index.ids[one.row],
                    "name": index[one.row].name,
                    "score": round(one.score, 4),
                    "rank": one.rank or None,
                }
                for one in chosen
            ]
            stream.write(json.dumps(record, ensure_ascii=False) + "\n")


class _Namesakes:
    """The entities of an index that share a name with what a mention is about."""

    def __init__(self, index: EntityIndex, mentions: Sequence[Mention]) -> None:
        golds = {one for mention in mentions for one in mention.entity_ids}
        self._rows: defaultdict[str, list[int]] = defaultdict(list)
        self._names: dict[str, set[str]] = {}
        for row, entity in enumerate(index):
            names = names_of(entity)
            for name in names:
                self._rows[name].append(row)
            if entity.id in golds:
                self._names[entity.id] = names

    def of(self, mention: Mention, golds: set[int]) -> list[int]:
        names = {normalized_name(mention.surface)}.union(*(self._names.get(one, set()) for one in mention.entity_ids))
        return sorted({row for name in names for row in self._rows.get(name, ())} - golds)


def _chosen(
    named: list[Negative], pool: list[Negative], settings: MiningSettings, draw: random.Random
) -> list[Negative]:
    taken = {one.row for one in named}
    pool = [one for one in pool if one.row not in taken]
    wanted = max(0, settings.num_negatives - len(named))
    if settings.sampling_strategy == "random":
        pool = draw.sample(pool, min(wanted, len(pool)))
    chosen = named[: settings.num_negatives] + pool[:wanted]
    return sorted(chosen, key=lambda one: (-one.score, one.row))


def _report(found: list[list[Negative]], gold_scores: list[float]) -> MiningReport:
    margins = [gold - one.score for chosen, gold in zip(found, gold_scores, strict=True) for one in chosen]
    return MiningReport(
        mentions=len(found),
        negatives=len(margins),
        mentions_by_negatives=dict(sorted(Counter(map(len, found)).items())),
        by_name=sum(one.rank == 0 for chosen in found for one in chosen),
        mean_margin=float(np.mean(margins)) if margins else 0.0,
    )
