"""Plain name matching: the retriever that needs no model, to compare with."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

from modelscope_plugin.data.records import Entity


class NameMatcher:
    """Ranks entities by how much their best name looks like the mention.

    The likeness of two names is the Dice coefficient of their character 1- and 2-grams; equal names have
    likeness 1. Ties are ordered by entity id.

    Args:
        entities: The knowledge base.
    """

    def __init__(self, entities: Iterable[Entity]) -> None:
        self._names: list[tuple[str, int]] = []
        self._postings: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
        self._ids: list[str] = []
        for entity in entities:
            self._ids.append(entity.id)
            for name in dict.fromkeys(entity.names):
                grams = _grams(name)
                for gram, count in grams.items():
                    self._postings[gram].append((len(self._names), count))
                self._names.append((entity.id, grams.total()))

    def search(self, mention: str, top_k: int) -> list[str]:
        """The ids of the ``top_k`` entities whose names look most like ``mention``, best first."""
        wanted = _grams(mention)
        shared: Counter[int] = Counter()
        for gram, count in wanted.items():
            for name, other in self._postings.get(gram, ()):
                shared[name] += min(count, other)
        best: dict[str, float] = {}
        for name, common in shared.items():
            entity_id, size = self._names[name]
            best[entity_id] = max(best.get(entity_id, 0.0), 2 * common / (wanted.total() + size))
        ranking = sorted(best, key=lambda entity_id: (-best[entity_id], entity_id))[:top_k]
        if len(ranking) < top_k:
            rest = sorted(set(self._ids).difference(ranking))
            ranking += rest[: top_k - len(ranking)]
        return ranking


def _grams(name: str) -> Counter[str]:
    name = name.lower()
    return Counter(name) + Counter(name[place : place + 2] for place in range(len(name) - 1))
