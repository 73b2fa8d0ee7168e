"""Fits the weights with which hybrid retrieval fuses dot products and likenesses of names."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from modelscope_plugin.data.golds import merge_golds
from modelscope_plugin.data.records import Mention
from modelscope_plugin.encoding.protocol import Encoder
from modelscope_plugin.errors import InputError
from modelscope_plugin.evaluation.fitting.softmax_regression import CandidateList, fit_softmax
from modelscope_plugin.retrieval.entity_index import EntityIndex
from modelscope_plugin.retrieval.fusion import Fusion
from modelscope_plugin.retrieval.retriever import Retriever

_CANDIDATES = 128


def fit_fusion(
    encoder: Encoder,
    index: EntityIndex,
    mentions: Iterable[Mention],
    *,
    batch_size: int | None = None,
    show_progress_bar: bool | None = None,
) -> Fusion:
    """Fit a weighted sum of dot product and likenesses and keep it in the index (`EntityIndex.fitted`).

    A NIL rule of hybrid retrieval is removed, because it was fitted to other scores.

    The weights are those under which the gold entities are likeliest among the candidates (softmax regression),
    none negative. Do not give the mentions whose words the index has learnt: these would look like perfect names.

    Args:
        encoder: The dual encoder.
        index: Its index of the knowledge base; `EntityIndex.save_fitted` writes the weights into its folder.
        mentions: Mentions with gold entities; others are skipped.
        batch_size: Mentions in one forward pass.
        show_progress_bar: True, False, or None for a bar on a terminal only.

    Returns:
        The fusion.

    Raises:
        IndexMismatchError: If the index was built with another model.
        InputError: If no mention has a gold entity among other candidates.
    """
    index.check_model(encoder.fingerprint, encoder.name)
    given = [mention for mention in merge_golds(mentions) if mention.entity_ids]
    retriever = Retriever(index, "hybrid", Fusion())
    queries = retriever.encode_mentions(encoder, given, batch_size=batch_size, show_progress_bar=show_progress_bar)
    lists = []
    for ranking, mention in zip(retriever.rank(*queries, _CANDIDATES), given, strict=True):
        golds = np.isin(ranking.rows, [index.row_of(one) for one in mention.entity_ids if one in index])
        scores = np.column_stack((ranking.dense, ranking.names, ranking.learned))
        lists.append(CandidateList(scores.astype(np.float64), golds))
    lists = [one for one in lists if one.is_informative]
    if not lists:
        raise InputError(f"none of the {len(given)} mentions has a gold entity among other candidates; nothing to fit")
    dense, names, learned = map(float, fit_softmax(lists, is_non_negative=True))
    fusion = Fusion("weighted_sum", dense, names, learned)
    index.fitted = index.fitted.with_fusion(fusion)
    return fusion
