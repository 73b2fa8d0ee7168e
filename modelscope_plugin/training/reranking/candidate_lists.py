"""Lists of candidates to train on: a gold entity and negatives that the first step ranks high."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from modelscope_plugin.data.records import Mention


@dataclass(frozen=True)
class ListBatch:
    """The lists of one batch.

    Attributes:
        mentions: The mentions, n.
        texts: The entity texts of all lists, each once.
        lists: For each mention positions in ``texts``: its gold entity, then negatives; at least two.
    """

    mentions: list[Mention]
    texts: list[str]
    lists: list[list[int]]


class CandidateLists:
    """Batches of lists; they depend on the seed and the number of the epoch alone.

    A mention with several gold entities takes one of them each epoch. None of the others is its negative, nor is an
    entity with the very text of one. Mentions without a negative are left out.

    Args:
        mentions: The mentions.
        candidates: For each of them ids of entities as the first step ranks them, best first, gold entities among them.
        texts: Entity texts by id, of the candidates and the gold entities of the knowledge base.
        batch_size: Mentions in a batch, of all processes together.
        list_size: Candidates of a mention in a batch, at most.
        range_max: The last rank to draw negatives from; gold entities have no rank.
        seed: Seed of order and draws.

    Attributes:
        negatives: How many negatives there are to draw from, of all mentions together.
    """

    def __init__(
        self,
        mentions: Sequence[Mention],
        candidates: Sequence[Sequence[str]],
        texts: Mapping[str, str],
        *,
        batch_size: int,
        list_size: int,
        range_max: int,
        seed: int,
    ) -> None:
        self._batch_size, self._list_size, self._seed = batch_size, list_size, seed
        self._items: list[tuple[Mention, list[str], list[str]]] = []
        for mention, ranked in zip(mentions, candidates, strict=True):
            golds = list(dict.fromkeys(texts[one] for one in mention.entity_ids if one in texts))
            negatives = list(dict.fromkeys(texts[one] for one in ranked if texts[one] not in golds))[:range_max]
            if golds and negatives:
                self._items.append((mention, golds, negatives))
        self.negatives = sum(len(negatives) for _, _, negatives in self._items)

    @property
    def mentions(self) -> int:
        """How many mentions are trained on."""
        return len(self._items)

    def __len__(self) -> int:
        return -(-len(self._items) // self._batch_size)

    def epoch(self, number: int, start: int = 0) -> Iterator[ListBatch]:
        """Make the batches of an epoch.

        Args:
            number: The epoch, from 0.
            start: How many batches to leave out, where training is resumed.

        Yields:
            The batches.
        """
        order = np.random.default_rng([self._seed, number]).permutation(len(self._items))
        for count in range(start, len(self)):
            draw = np.random.default_rng([self._seed, number, count])
            yield self._make_batch(order[count * self._batch_size : (count + 1) * self._batch_size].tolist(), draw)

    def _make_batch(self, positions: Sequence[int], draw: np.random.Generator) -> ListBatch:
        mentions, columns, lists = [], dict[str, int](), []
        for position in positions:
            mention, golds, negatives = self._items[position]
            gold = golds[int(draw.integers(len(golds)))]
            drawn = draw.permutation(len(negatives))[: self._list_size - 1]
            chosen = [gold, *(negatives[one] for one in sorted(drawn.tolist()))]
            mentions.append(mention)
            lists.append([columns.setdefault(text, len(columns)) for text in chosen])
        return ListBatch(mentions, list(columns), lists)
