"""Fits the weights with which the second step orders candidates."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from zlib import crc32

import numpy as np

from modelscope_plugin.data.golds import merge_golds
from modelscope_plugin.data.records import Mention
from modelscope_plugin.encoding.protocol import Encoder
from modelscope_plugin.errors import InputError
from modelscope_plugin.evaluation.fitting.softmax_regression import (
    CandidateList,
    fit_folds,
    fit_softmax,
    mean_reciprocal_rank,
)
from modelscope_plugin.linking.reranking.second_step import SecondStep, candidate_features
from modelscope_plugin.retrieval.entity_index import EntityIndex
from modelscope_plugin.retrieval.fitted import RERANKING_FEATURES, RerankingWeights
from modelscope_plugin.retrieval.retriever import Retriever

# The parts into which the gold entities are cut; each is scored with weights that were fitted on the others.
_FOLDS = 5
# Mean reciprocal rank of entities without learnt names that a choice may cost.
_MAY_LOSE = 0.005
# What is tried, richest first: all features; without the names learnt, which look better for entities of training than
# they are for others; the re-ranker and the order of retrieval; either alone.
_CHOICES = (
    ("rerank", "dense", "names", "learned", "exact", "rank"),
    ("rerank", "dense", "names", "exact", "rank"),
    ("rerank", "rank"),
    ("rerank",),
    ("rank",),
)


def fit_reranking(
    encoder: Encoder,
    index: EntityIndex,
    second_step: SecondStep,
    mentions: Iterable[Mention],
    *,
    batch_size: int | None = None,
    show_progress_bar: bool | None = None,
) -> RerankingWeights:
    """Fit the weights of the second step and keep them in the index (`EntityIndex.fitted`).

    The weights are those under which the gold entities are likeliest among the candidates (softmax regression), none
    negative. Which features get one is chosen by the mean reciprocal rank of entities held out: each fifth of the gold
    entities is ranked with weights fitted on the others. The order of retrieval alone is among the choices, so that
    the second step does not rank entities held out worse than the first. Names learnt get no weight where that would
    cost entities that training has not seen: this is measured on all mentions, as if nothing had been learnt for their
    own gold entities.

    The NIL rule after re-ranking is removed, because it was fitted to other probabilities. Do not give the mentions
    whose words the index has learnt, nor those that the re-ranker was trained on.

    Args:
        encoder: The dual encoder.
        index: Its index of the knowledge base; `EntityIndex.save_fitted` writes the weights into its folder.
        second_step: The re-ranker with the retrieval and the number of candidates to fit for.
        mentions: Mentions with gold entities; others are skipped.
        batch_size: Texts in one forward pass.
        show_progress_bar: True, False, or None for a bar on a terminal only.

    Returns:
        The weights.

    Raises:
        IndexMismatchError: If the index was built with another model.
        InputError: If no mention has a gold entity among other candidates.
    """
    index.check_model(encoder.fingerprint, encoder.name)
    labelled = merge_golds(mentions)
    given = [mention for mention in labelled if any(one in index for one in mention.entity_ids)]
    retriever = Retriever(index, second_step.retrieval)
    queries = retriever.encode_mentions(encoder, given, batch_size=batch_size, show_progress_bar=show_progress_bar)
    rankings = list(retriever.rank(*queries, second_step.top_k))
    scores = second_step.score(given, rankings, batch_size=batch_size, show_progress_bar=show_progress_bar)
    lists = [
        CandidateList(
            candidate_features(ranking, one),
            np.isin(ranking.rows[: len(one)], [index.row_of(gold) for gold in mention.entity_ids if gold in index]),
            crc32(min(mention.entity_ids).encode()) % _FOLDS,
        )
        for ranking, one, mention in zip(rankings, scores, given, strict=True)
    ]
    informative = [one for one in lists if one.is_informative]
    if not informative:
        raise InputError(
            f"none of the {len(labelled)} mentions has a gold entity among other candidates; nothing to fit"
        )
    columns = choose_columns(lists)
    fitted = fit_softmax(informative, columns, is_non_negative=True)
    if not fitted.any():  # nothing known of these candidates finds the gold entities: retrieval decides
        fitted[RERANKING_FEATURES.index("rank")] = 1.0
    weights = dict(zip(RERANKING_FEATURES, map(float, fitted), strict=True))
    found = RerankingWeights(second_step.retrieval, second_step.reranker.fingerprint, **weights)
    index.fitted = index.fitted.with_reranking(found)
    return found


def choose_columns(lists: Sequence[CandidateList]) -> list[int]:
    """Choose the features that get a weight by how the gold entities held out are ranked.

    Args:
        lists: The candidates of labelled mentions, with the features of `candidate_features`.

    Returns:
        Positions in `RERANKING_FEATURES`.
    """
    learned = RERANKING_FEATURES.index("learned")
    forgotten = []
    for one in lists:
        features = one.features.copy()
        features[one.golds, learned] = 0
        forgotten.append(replace(one, features=features))
    choices = [[RERANKING_FEATURES.index(name) for name in names] for names in _CHOICES]
    weights = [fit_folds(lists, columns, _FOLDS) for columns in choices]
    unseen = [mean_reciprocal_rank(forgotten, one) for one in weights]
    every = [mean_reciprocal_rank(lists, one) for one in weights]
    allowed = [number for number, value in enumerate(unseen) if value >= max(unseen) - _MAY_LOSE]
    return choices[max(allowed, key=every.__getitem__)]
