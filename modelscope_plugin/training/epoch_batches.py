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
    """The texts of one batch and which of them belong together.

    Attributes:
        mentions: Tokens of n mentions, by length.
        candidates: Tokens of m entities, by length: the gold entities and hard negatives of all mentions and
            the random negatives, each entity once; where entities have views, the tokens of all their views.
        pairs: Row of a mention and column of the entity it should find, int64 (n, 2).
        golds: Bool (n, m), true where a candidate is a gold entity of a mention.
        views: Where entities have views: for each entity the positions of its views in ``candidates``, int64 (m, most
            views), -1 where an entity has fewer.
    """

    mentions: list[TokenIds]
    candidates: list[TokenIds]
    pairs: torch.Tensor
    golds: torch.Tensor
    views: torch.Tensor | None = None

    def guessing_loss(self, symmetric: bool) -> float:
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
        for count, positions in enumerate(self._split(golds, random)):
            draw = np.random.default_rng([self._seed, number, count])
            if count >= start:
                yield self._make_batch([(self._examples[one], golds[one]) for one in positions], draw)

    def _split(self, golds: Sequence[int], random: np.random.Generator) -> list[list[int]]:
        """Split the examples, given by position, into batches of similar length in random order."""
        entities = self._examples.entities
        lengths = np.array([len(e.mention) + entities.length(g) for e, g in zip(self._examples, golds, strict=True)])
        order = random.permutation(len(golds))
        pool = _POOL * self._batch_size
        for start in range(0, len(order), pool):
            part = order[start : start + pool]
            order[start : start + pool] = part[np.argsort(lengths[part], kind="stable")]
        batches = self._separate_repeats(order.tolist(), golds)
        return [batches[number] for number in random.permutation(len(batches))]

    def _separate_repeats(self, order: list[int], golds: Sequence[int]) -> list[list[int]]:
        """Fill batches in an order so that examples of one entity come into different batches."""
        full: list[list[int]] = []
        filling: list[tuple[list[int], set[int]]] = []
        for position in order:
            gold = golds[position]
            chosen = next((batch for batch in filling if gold not in batch[1]), None)
            if chosen is None and len(filling) < _OPEN:
                chosen = [], set()
                filling.append(chosen)
            chosen = chosen or filling[0]
            chosen[0].append(position)
            chosen[1].add(gold)
            if len(chosen[0]) == self._batch_size:
                full.append(chosen[0])
                filling.remove(chosen)
        left = [position for batch, _ in filling for position in batch]
        return full + [left[start : start + self._batch_size] for start in range(0, len(left), self._batch_size)]

    def _make_batch(self, chosen: Sequence[tuple[Example, int]], random: np.random.Generator) -> Batch:
        """Make a batch of examples, each with the gold entity it takes, and draw its negatives."""
        chosen = sorted(chosen, key=lambda one: len(one[0].mention))
        wanted = [gold for _, gold in chosen]
        for example, _ in chosen:
            count = min(self._hard_negatives, len(example.negatives))
            if count:
                drawn = random.choice(len(example.negatives), count, replace=False)
                wanted += [example.negatives[number] for number in drawn]
        tokens = self._examples.entities
        wanted += random.integers(len(tokens), size=self._random_negatives).tolist()
        entities = sorted(dict.fromkeys(wanted), key=tokens.length)
        columns = {entity: column for column, entity in enumerate(entities)}
        golds = torch.zeros(len(chosen), len(entities), dtype=torch.bool)
        for row, (example, _) in enumerate(chosen):
            golds[row, [columns[gold] for gold in example.golds if gold in columns]] = True
        if tokens.max_views > 1:
            candidates, views = _flatten_views([tokens.views(entity) for entity in entities])
        else:
            candidates, views = [tokens[entity] for entity in entities], None
        return Batch(
            [example.mention for example, _ in chosen],
            candidates,
            torch.tensor([(row, columns[gold]) for row, (_, gold) in enumerate(chosen)]),
            golds,
            views,
        )


def _flatten_views(entities: Sequence[Sequence[TokenIds]]) -> tuple[list[TokenIds], torch.Tensor]:
    """List the views of all entities by length; and, as in `Batch.views`, where those of each entity are."""
    texts = [(text, entity, number) for entity, views in enumerate(entities) for number, text in enumerate(views)]
    texts.sort(key=lambda one: len(one[0]))
    positions = torch.full((len(entities), max(map(len, entities))), -1)
    for position, (_, entity, number) in enumerate(texts):
        positions[entity, number] = position
    return [text for text, _, _ in texts], positions
