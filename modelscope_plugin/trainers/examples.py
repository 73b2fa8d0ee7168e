"""Training pairs: a mention and one of its gold entities, tokenised, in batches."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from modelscope_plugin.data.entity_text import entity_text
from modelscope_plugin.data.records import Entity, Mention
from modelscope_plugin.errors import TrainingError
from modelscope_plugin.preprocessors.tokenization import EntityTokenizer, TokenIds

logger = logging.getLogger(__name__)

# Batches whose pairs are sorted by length together: enough to save most padding, few enough to stay random.
_POOL = 16


@dataclass(frozen=True)
class Pair:
    """A mention with one of its gold entities.

    Attributes:
        mention_ids: Tokens of the mention.
        entity_ids: Tokens of the entity.
        entity: Id of the entity.
        golds: Ids of all gold entities of the mention; none of them is ever its negative.
    """

    mention_ids: TokenIds
    entity_ids: TokenIds
    entity: str
    golds: frozenset[str]


class Pairs(Dataset[Pair]):
    """The training pairs of a knowledge base and its labelled mentions.

    Args:
        entities: The knowledge base; only entities that are gold of a mention are kept.
        mentions: The mentions; those without a gold entity are left out.
        tokenizer: Tokenizer and window.

    Raises:
        TrainingError: If no mention has a gold entity in the knowledge base.
    """

    def __init__(self, entities: Iterable[Entity], mentions: Iterable[Mention], tokenizer: EntityTokenizer) -> None:
        given = list(mentions)
        labelled = [mention for mention in given if mention.entity_ids]
        wanted = {entity_id for mention in labelled for entity_id in mention.entity_ids}
        found = {entity.id: entity_text(entity) for entity in entities if entity.id in wanted}
        missing = sorted(wanted - found.keys())
        if missing and found:
            logger.warning(
                "%d of %d gold entities are not in the knowledge base (%s, ...); their mentions are left out",
                len(missing), len(wanted), missing[0],
            )  # fmt: skip
        entity_tokens = dict(zip(found, tokenizer.entity_ids(list(found.values())), strict=True))
        usable = [mention for mention in labelled if any(gold in found for gold in mention.entity_ids)]
        if not usable:
            raise TrainingError(
                f"none of the {len(given)} training mentions has a gold entity in the knowledge base"
                + (f" (it lacks {missing[0]!r}, for one)" if missing else "")
                + "; check that both files belong together"
            )
        self.entities = len(found)
        self.mentions = len(usable)
        self.items = [
            Pair(tokens, entity_tokens[gold], gold, frozenset(mention.entity_ids))
            for mention, tokens in zip(usable, tokenizer.mention_ids(usable), strict=True)
            for gold in mention.entity_ids
            if gold in found
        ]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, place: int) -> Pair:
        return self.items[place]


class PairBatches(Sampler[list[int]]):
    """Batches of pairs of similar length that avoid holding one entity twice.

    The order depends on the seed and the epoch alone. Where pairs of one entity are left at the end they
    share the last batches; the loss does not take them for each other's negatives.

    Args:
        pairs: The pairs.
        batch_size: Pairs in a batch.
        seed: Seed of the order.
    """

    def __init__(self, pairs: Sequence[Pair], batch_size: int, seed: int) -> None:
        self._lengths = np.array([len(pair.mention_ids) + len(pair.entity_ids) for pair in pairs])
        self._entities = [pair.entity for pair in pairs]
        self._batch_size = batch_size
        self._seed = seed
        self._epoch = 0

    def __len__(self) -> int:
        return -(-len(self._entities) // self._batch_size)

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of an epoch."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[list[int]]:
        random = np.random.default_rng([self._seed, self._epoch])
        order = random.permutation(len(self._entities))
        pool = _POOL * self._batch_size
        for start in range(0, len(order), pool):
            part = order[start : start + pool]
            order[start : start + pool] = part[np.argsort(self._lengths[part], kind="stable")]
        batches = self._without_repeats(order.tolist())
        yield from (batches[place] for place in random.permutation(len(batches)))

    def _without_repeats(self, order: list[int]) -> list[list[int]]:
        full: list[list[int]] = []
        filling: list[dict[str, int]] = []
        for place in order:
            entity = self._entities[place]
            batch = next((batch for batch in filling if entity not in batch), None)
            if batch is None:
                batch = {}
                filling.append(batch)
            batch[entity] = place
            if len(batch) == self._batch_size:
                full.append(list(batch.values()))
                filling.remove(batch)
        left = [place for batch in filling for place in batch.values()]
        return full + [left[start : start + self._batch_size] for start in range(0, len(left), self._batch_size)]


class Collator:
    """Puts pairs into one padded batch.

    Args:
        tokenizer: Pads the token ids.
    """

    def __init__(self, tokenizer: EntityTokenizer) -> None:
        self._tokenizer = tokenizer

    def __call__(self, pairs: Sequence[Pair]) -> dict[str, Any]:
        """Make a batch.

        Args:
            pairs: n pairs.

        Returns:
            ``mentions`` and ``entities``, each with ``input_ids`` and ``attention_mask`` (n, length), and
            ``masked`` (n, n), true where an entity of the batch must not be a negative of a mention: it is
            another gold of it, or the same entity once more.
        """
        masked = [
            [row != column and other.entity in pair.golds for column, other in enumerate(pairs)]
            for row, pair in enumerate(pairs)
        ]
        return {
            "mentions": self._tensors([pair.mention_ids for pair in pairs]),
            "entities": self._tensors([pair.entity_ids for pair in pairs]),
            "masked": torch.tensor(masked),
        }

    def _tensors(self, sequences: list[TokenIds]) -> dict[str, torch.Tensor]:
        return {name: torch.from_numpy(values) for name, values in self._tokenizer.pad(sequences).items()}
