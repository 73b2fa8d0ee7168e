"""Fits the weights with which hybrid retrieval fuses the lists of vectors and of names."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from modelscope_plugin.data.golds import merge_golds
from modelscope_plugin.data.records import Mention
from modelscope_plugin.encoding.protocol import Encoder
from modelscope_plugin.errors import InputError
from modelscope_plugin.retrieval.entity_index import EntityIndex
from modelscope_plugin.retrieval.fusion import Fusion
from modelscope_plugin.retrieval.retriever import Ranking, Retriever

# Weights that are tried, that of the dense list being 1.
_NAMES = (0.1, 0.2, 0.4, 0.7, 1.0, 1.5, 3.0, 6.0, 20.0)
_LEARNED = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5)
_FOLDS = 4
# Gains on held-out mentions of less than so many standard errors are noise.
_ERRORS = 2.0
# Mean reciprocal rank of unseen entities that a weight may cost.
_MAY_LOSE = 0.005
_DEPTH = 128

Floats: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True)
class _Example:
    """A mention.

    Attributes:
        found: Its candidates.
        unseen: The same as if no training text had had its entities.
        golds: Rows of its gold entities.
        fold: The fold of its entities.
    """

    found: Ranking
    unseen: Ranking
    golds: npt.NDArray[np.int64]
    fold: int


def fit_fusion(
    encoder: Encoder,
    index: EntityIndex,
    mentions: Iterable[Mention],
    *,
    batch_size: int | None = None,
    show_progress_bar: bool | None = None,
    seed: int = 42,
) -> Fusion:
    """Fit the weights of names, and of names learnt, and keep the fusion in the index (`EntityIndex.fitted`).

    A NIL rule of hybrid retrieval is removed, because it was fitted to other scores.

    A weight is left as it is by default unless another one is better on mentions of entities that it was not chosen on:
    by more than noise over all mentions, and at no cost for entities that training has not seen. What a weight costs
    these is measured on every mention, as if the words learnt for its own gold entities had not been learnt. Do not
    give the mentions whose words the index has learnt: these would look like perfect names.

    Args:
        encoder: The dual encoder.
        index: Its index of the knowledge base; `EntityIndex.save_fitted` writes the weights into its folder.
        mentions: Mentions with gold entities; others are skipped.
        batch_size: Mentions in one forward pass.
        show_progress_bar: True, False, or None for a bar on a terminal only.
        seed: Seed of the folds, each of which holds entities that no other has.

    Returns:
        The fusion.

    Raises:
        IndexMismatchError: If the index was built with another model.
        InputError: If no mention has a gold entity among other candidates.
    """
    index.check_model(encoder.fingerprint, encoder.name)
    given = [mention for mention in merge_golds(mentions) if mention.entity_ids]
    fusion = Fusion() if index.quality is None else index.quality.fusion
    retriever = Retriever(index, "hybrid", fusion)
    queries = retriever.encode_mentions(encoder, given, batch_size=batch_size, show_progress_bar=show_progress_bar)
    folds = _fold_entities(given, seed)
    examples = []
    for found, mention in zip(retriever.gather(*queries, _DEPTH), given, strict=True):
        golds = np.array([index.row_of(one) for one in mention.entity_ids if one in index], dtype=np.int64)
        is_gold = np.isin(found.rows, golds)
        if is_gold.any() and not is_gold.all():
            examples.append(_Example(found, _forget(found, is_gold), golds, folds[mention.entity_ids[0]]))
    if not examples:
        raise InputError(f"none of the {len(given)} mentions has a gold entity among other candidates; nothing to fit")
    fusion = _choose(retriever, examples, [replace(fusion, names=weight) for weight in (fusion.names, *_NAMES)])
    if len(index.lexicon.learned):
        choices = [replace(fusion, learned=weight) for weight in (fusion.learned, *_LEARNED)]
        fusion = _choose(retriever, examples, choices)
    index.fitted = index.fitted.with_fusion(fusion)
    return fusion


def _fold_entities(mentions: Sequence[Mention], seed: int) -> dict[str, int]:
    """The fold of each entity that is the first gold entity of a mention."""
    ids = sorted({mention.entity_ids[0] for mention in mentions})
    random.Random(seed).shuffle(ids)
    return {one: position % _FOLDS for position, one in enumerate(ids)}


def _forget(found: Ranking, is_gold: npt.NDArray[np.bool_]) -> Ranking:
    """Candidates as if nothing had been learnt for the gold entities."""
    learned = np.where(is_gold, 0, found.learned).astype(found.learned.dtype)
    return replace(found, learned=learned, is_learned=found.is_learned & ~is_gold)


def _choose(retriever: Retriever, examples: Sequence[_Example], choices: Sequence[Fusion]) -> Fusion:
    """Return the best of several fusions, or the first where none is better than it on held-out entities."""
    all_ranks = np.array([_reciprocal_ranks(retriever, examples, choice, "found") for choice in choices])
    unseen = np.array([_reciprocal_ranks(retriever, examples, choice, "unseen") for choice in choices])
    folds = np.array([example.fold for example in examples])
    gains, costs = np.zeros(len(examples)), np.zeros(len(examples))
    for fold in np.unique(folds):
        held_out = folds == fold
        best = _best(all_ranks[:, ~held_out], unseen[:, ~held_out])
        gains[held_out] = all_ranks[best, held_out] - all_ranks[0, held_out]
        costs[held_out] = unseen[0, held_out] - unseen[best, held_out]
    noise = gains.std() / np.sqrt(len(gains))
    if gains.mean() <= _ERRORS * noise or costs.mean() > _MAY_LOSE:
        return choices[0]
    return choices[_best(all_ranks, unseen)]


def _best(all_ranks: Floats, unseen: Floats) -> int:
    """The fusion of the highest mean reciprocal rank among those that cost unseen entities next to nothing."""
    if not all_ranks.shape[1]:
        return 0
    means, bound = all_ranks.mean(axis=1), unseen[0].mean() - _MAY_LOSE
    return int(np.where(unseen.mean(axis=1) >= bound, means, -1.0).argmax())


def _reciprocal_ranks(retriever: Retriever, examples: Sequence[_Example], fusion: Fusion, candidates: str) -> Floats:
    """For each mention 1 / rank of its first gold entity."""
    ranks = np.zeros(len(examples))
    for position, example in enumerate(examples):
        ranking = retriever.order(getattr(example, candidates), fusion, _DEPTH)
        hits = np.flatnonzero(np.isin(ranking.rows, example.golds))
        ranks[position] = 1 / (1 + hits[0]) if len(hits) else 0.0
    return ranks
