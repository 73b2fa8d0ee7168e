"""Batches of training examples of similar length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from modelscope_plugin.training.examples import Example, Examples
from modelscope_plugin.types import TokenIds

# Batches whose examples are sorted by length together: enough to save most padding, few enough to stay random.
_POOL = 16
# Batches filled side by side so that none holds an entity twice; an entity more frequent than that is repeated.
_OPEN = 64


@dataclass(frozen=True)
class Batch:
    """What one step of training looks at.

    Attributes:
        mentions: Tokens of n mentions, by length.
        candidates: Tokens of m entities, by length: the gold entities and hard negatives of all mentions and
            the random negatives, each entity once; where entities have views, the tokens of all their views.
        pairs: Row of a mention and column of the entity it should find, int64 (n, 2).
        golds: Bool (n, m), true where a candidate is a gold entity of a mention.
        views: Where entities have views: the places in ``candidates`` of those of each entity, int64 (m, most
            views), -1 where an entity has fewer.
    """

    mentions: list[TokenIds]
    candidates: list[TokenIds]
    pairs: torch.Tensor
    golds: torch.Tensor
    views: torch.Tensor | None = None

    def guessing(self, symmetric: bool) -> float:
        """The loss of a model that knows nothing: the mean over the pairs of ln(1 + negatives)."""
        loss = (1 + (~self.golds).sum(1)[self.pairs[:, 0]]).float().log().mean()
        if symmetric:
            loss = (loss + (1 + (~self.golds).sum(0)[self.pairs[:, 1]]).float().log().mean()) / 2
        return float(loss)


class Batches:
    """The batches of an epoch; they depend on the seed and the number of the epoch alone.

    Batches avoid holding one entity twice: it could not be a negative there. A mention with several gold
    entities takes one of them each epoch, and a mention with many hard negatives takes some of them.

    Args:
        examples: The examples.
        batch_size: Mentions in a batch, of all processes together.
        seed: Seed of order and draws.
        hard_negatives: Hard negatives of a mention in a batch, at most.
        random_negatives: Entities of ``examples.entities`` drawn into a batch.
    """

    def __init__(
        self, examples: Examples, batch_size: int, seed: int, hard_negatives: int = 0, random_negatives: int = 0
    ) -> None:
        self._examples = examples
        self._batch_size = batch_size
        self._seed = seed
        self._hard_negatives = hard_negatives
        self._random_negatives = random_negatives

    def __len__(self) -> int:
        return -(-len(self._examples) // self._batch_size)

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """Make the batches of an epoch.

        Args:
            number: The epoch, from 0.
            start: How many batches to leave out, where training is resumed.

        Yields:
            The batches.
        """
        random = np.random.default_rng([self._seed, number])
        golds = [example.golds[int(random.integers(len(example.golds)))] for example in self._examples]
        places = self._places(golds, random)
        for count, batch in enumerate(places):
            drawn = np.random.default_rng([self._seed, number, count])
            if count >= start:
                yield self._batch([(self._examples[place], golds[place]) for place in batch], drawn)

    def _places(self, golds: Sequence[int], random: np.random.Generator) -> list[list[int]]:
        """Which examples make a batch."""
        entities = self._examples.entities
        lengths = np.array([len(e.mention) + entities.length(g) for e, g in zip(self._examples, golds, strict=True)])
        order = random.permutation(len(golds))
        pool = _POOL * self._batch_size
        for start in range(0, len(order), pool):
            part = order[start : start + pool]
            order[start : start + pool] = part[np.argsort(lengths[part], kind="stable")]
        batches = self._without_repeats(order.tolist(), golds)
        return [batches[place] for place in random.permutation(len(batches))]

    def _without_repeats(self, order: list[int], golds: Sequence[int]) -> list[list[int]]:
        full: list[list[int]] = []
        filling: list[tuple[list[int], set[int]]] = []
        for place in order:
            gold = golds[place]
            chosen = next((batch for batch in filling if gold not in batch[1]), None)
            if chosen is None and len(filling) < _OPEN:
                chosen = [], set()
                filling.append(chosen)
            chosen = chosen or filling[0]
            chosen[0].append(place)
            chosen[1].add(gold)
            if len(chosen[0]) == self._batch_size:
                full.append(chosen[0])
                filling.remove(chosen)
        left = [place for batch, _ in filling for place in batch]
        return full + [left[start : start + self._batch_size] for start in range(0, len(left), self._batch_size)]

    def _batch(self, chosen: Sequence[tuple[Example, int]], random: np.random.Generator) -> Batch:
        chosen = sorted(chosen, key=lambda one: len(one[0].mention))
        wanted = [gold for _, gold in chosen]
        for example, _ in chosen:
            count = min(self._hard_negatives, len(example.negatives))
            if count:
                drawn = random.choice(len(example.negatives), count, replace=False)
                wanted += [example.negatives[place] for place in drawn]
        tokens = self._examples.entities
        wanted += random.integers(len(tokens), size=self._random_negatives).tolist()
        columns = sorted(dict.fromkeys(wanted), key=tokens.length)
        column = {entity: place for place, entity in enumerate(columns)}
        golds = torch.zeros(len(chosen), len(columns), dtype=torch.bool)
        for row, (example, _) in enumerate(chosen):
            golds[row, [column[gold] for gold in example.golds if gold in column]] = True
        if tokens.max_views > 1:
            candidates, views = _with_views([tokens.views(entity) for entity in columns])
        else:
            candidates, views = [tokens[entity] for entity in columns], None
        return Batch(
            [example.mention for example, _ in chosen],
            candidates,
            torch.tensor([(row, column[gold]) for row, (_, gold) in enumerate(chosen)]),
            golds,
            views,
        )


def _with_views(entities: Sequence[Sequence[TokenIds]]) -> tuple[list[TokenIds], torch.Tensor]:
    """The views of all entities, by length, and where those of each entity stand among them."""
    texts = [(text, place, number) for place, views in enumerate(entities) for number, text in enumerate(views)]
    texts.sort(key=lambda one: len(one[0]))
    places = torch.full((len(entities), max(map(len, entities))), -1)
    for row, (_, place, number) in enumerate(texts):
        places[place, number] = row
    return [text for text, _, _ in texts], places
