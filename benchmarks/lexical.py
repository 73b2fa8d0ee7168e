"""Recall of names alone: the likeness of this package beside three forms of BM25 over the same 1- and 2-grams.

``whole`` is BM25 as it is, ``larger`` divides it by the larger of the scores that mention and name have against
themselves, ``root`` by the root of their product. All of them put the names that are the mention first, as lexical
retrieval does; ``plain`` is ``whole`` without that. Nothing is fitted.
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from common import data_folder, write_results
from scipy.sparse import csr_array

from modelscope_plugin.data import Entity, Mention, read_entities, read_mentions
from modelscope_plugin.data.golds import merge_golds
from modelscope_plugin.data.names import names_of, normalized_name
from modelscope_plugin.evaluation.evaluate import score_rankings
from modelscope_plugin.retrieval import Retriever
from modelscope_plugin.retrieval.knowledge_base import KnowledgeBase

KS = (1, 4, 16, 64)
K1, B = 1.2, 0.75
FORMS: dict[str, Callable[[float, npt.NDArray[np.float64]], Any]] = {
    "whole": lambda own, others: 1.0,
    "larger": lambda own, others: np.maximum(own, others),
    "root": lambda own, others: np.sqrt(own * others),
}


class DataSet(NamedTuple):
    """A knowledge base and mentions of it."""

    entities: list[Entity]
    mentions: list[Mention]


def read_set(folder: Path, files: Iterable[str], *, titles: bool = False) -> DataSet:
    """Read a set; with ``titles`` the entities lose their aliases."""
    entities = list(read_entities(folder / "kb.jsonl"))
    known = {entity.id for entity in entities}
    mentions = [one for file in files for one in merge_golds(read_mentions(folder / file)) if known & {*one.entity_ids}]
    return DataSet([replace(one, aliases=()) for one in entities] if titles else entities, mentions)


def mention_aliases(entities: Iterable[Entity]) -> DataSet:
    """Entities without aliases, and each alias that is not the title as a mention of its entity."""
    titles, mentions = [], []
    for entity in entities:
        titles.append(replace(entity, aliases=()))
        for name in sorted(names_of(entity) - {normalized_name(entity.name)}):
            mentions.append(Mention(name, 0, len(name), (entity.id,)))
    return DataSet(titles, mentions)


def mention_pieces(entities: Sequence[Entity]) -> DataSet:
    """The piece before the first and behind the last middle dot of a name as a mention of all that have it there."""
    bearers = defaultdict(list)
    for entity in entities:
        pieces = entity.name.split("·")
        for piece in {pieces[0], pieces[-1]} if len(pieces) > 1 else ():
            if len(piece) > 1:
                bearers[piece].append(entity.id)
    return DataSet(
        list(entities), [Mention(piece, 0, len(piece), tuple(ids)) for piece, ids in sorted(bearers.items())]
    )


class Bm25:
    """BM25 (Robertson and Zaragoza 2009) over the character grams of the normalised names of entities."""

    def __init__(self, entities: Sequence[Entity]) -> None:
        self._ids = [entity.id for entity in entities]
        self._written = [set(entity.names) for entity in entities]
        self._names = [names_of(entity) for entity in entities]
        names = sorted(set().union(*self._names))
        number = {name: position for position, name in enumerate(names)}
        pairs = [(number[name], row) for row, owned in enumerate(self._names) for name in owned]
        self._owned, self._owners = np.array(pairs).T
        grams = [Counter(_grams(name)) for name in names]
        self._vocabulary = {gram: column for column, gram in enumerate(sorted(set().union(*grams)))}
        frequency = Counter(gram for counts in grams for gram in counts)
        self._count = len(names)
        self._inverse = {gram: self._weigh(times) for gram, times in frequency.items()}
        self._mean = sum(map(len, grams)) / len(grams)
        starts = np.cumsum([0, *map(len, grams)])
        weights = [weight for counts in grams for weight in self._weights(counts).values()]
        columns = [self._vocabulary[gram] for counts in grams for gram in counts]
        self._postings = csr_array((weights, columns, starts), shape=(len(names), len(self._vocabulary))).tocsc()
        self._selves = np.array([self._score_itself(counts) for counts in grams])

    def rank(self, mention: Mention, form: str, *, exact_first: bool = True) -> list[str]:
        """The ids of the best entities."""
        name = normalized_name(mention.surface)
        counts = Counter(_grams(name))
        query = {self._vocabulary[gram]: times for gram, times in counts.items() if gram in self._vocabulary}
        scores = self._postings[:, list(query)] @ np.array(list(query.values()), float)
        scores = scores / FORMS[form](self._score_itself(counts), self._selves)
        best = np.zeros(len(self._ids))
        np.maximum.at(best, self._owners, scores[self._owned])
        rows = np.flatnonzero(best > 0)
        if len(rows) > KS[-1]:
            exact = [row for row in rows if name in self._names[row]]
            rows = np.union1d(exact, rows[best[rows] >= np.partition(best[rows], -KS[-1])[-KS[-1]]]).astype(int)

        def key(row: int) -> tuple[bool, bool, float, str]:
            is_verbatim = exact_first and mention.surface in self._written[row]
            is_exact = exact_first and name in self._names[row]
            return not is_verbatim, not is_exact, -best[row], self._ids[row]

        return [self._ids[row] for row in sorted(rows.tolist(), key=key)[: KS[-1]]]

    def _weigh(self, frequency: int) -> float:
        return float(np.log(1 + (self._count - frequency + 0.5) / (frequency + 0.5)))

    def _weights(self, counts: Counter[str]) -> dict[str, float]:
        norm = K1 * (1 - B + B * len(counts) / self._mean)
        unknown = self._weigh(0)
        return {
            gram: self._inverse.get(gram, unknown) * times * (K1 + 1) / (times + norm) for gram, times in counts.items()
        }

    def _score_itself(self, counts: Counter[str]) -> float:
        return sum(weight * counts[gram] for gram, weight in self._weights(counts).items())


def _grams(name: str) -> list[str]:
    return [*name, *(name[start : start + 2] for start in range(len(name) - 1))]


def measure(data: DataSet) -> dict[str, Any]:
    """Recall of every form."""
    ids = [entity.id for entity in data.entities]
    retriever = Retriever(KnowledgeBase(data.entities), "lexical")
    found = retriever.rank(None, [mention.surface for mention in data.mentions], KS[-1])
    rankings = {"this package": [[ids[row] for row in ranking.rows.tolist()] for ranking in found]}
    bm25 = Bm25(data.entities)
    for form in FORMS:
        rankings[form] = [bm25.rank(mention, form) for mention in data.mentions]
    rankings["plain"] = [bm25.rank(mention, "whole", exact_first=False) for mention in data.mentions]
    figures: dict[str, Any] = {"entities": len(ids), "mentions": len(data.mentions)}
    for form, ranked in rankings.items():
        result = score_rankings(ranked, data.mentions, ids, KS)
        figures[form] = {str(k): round(100 * value, 1) for k, value in result.recall.items()}
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    _, chip = data_folder(parser, "chip-cdn")
    kgclue, ccks, oi = (chip.parent / name for name in ("kgclue", "ccks2019-sample", "oi-wiki"))
    sets = {
        "chip-cdn dev": read_set(chip, ["dev.jsonl"]),
        "kgclue dev": read_set(kgclue, ["dev.jsonl"]),
        "ccks2019-sample": read_set(ccks, ["train.jsonl"]),
        "ccks2019-sample, titles": read_set(ccks, ["train.jsonl"], titles=True),
        "ccks2019-sample, aliases for titles": mention_aliases(read_entities(ccks / "kb.jsonl")),
        "oi-wiki": read_set(oi, ["mentions.jsonl"]),
        "oi-wiki, titles": read_set(oi, ["mentions.jsonl"], titles=True),
        "kgclue, pieces of names": mention_pieces(list(read_entities(kgclue / "kb.jsonl"))),
    }
    write_results("lexical", {"recall": {name: measure(data) for name, data in sets.items()}})


if __name__ == "__main__":
    main()
