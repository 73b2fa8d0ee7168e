"""Fits the weights with which hybrid retrieval fuses dot products and likenesses of names."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from modelscope_plugin.data.golds import merge_golds
from modelscope_plugin.data.records import Mention
from modelscope_plugin.encoding.protocol import Encoder
from modelscope_plugin.errors import InputError
from modelscope_plugin.retrieval.entity_index import EntityIndex
from modelscope_plugin.retrieval.fusion import Fusion
from modelscope_plugin.retrieval.retriever import Retriever

_CANDIDATES = 128
_RIDGE = 1e-3


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

    The weights are those under which the gold entities are likeliest among the candidates (softmax regression). Do not
    give the mentions whose words the index has learnt: these would look like perfect names.

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
    examples = []
    for ranking, mention in zip(retriever.rank(*queries, _CANDIDATES), given, strict=True):
        golds = np.isin(ranking.rows, [index.row_of(one) for one in mention.entity_ids if one in index])
        if golds.any() and not golds.all():
            scores = np.column_stack((ranking.dense, ranking.names, ranking.learned))
            examples.append((scores.astype(np.float64), golds))
    if not examples:
        raise InputError(f"none of the {len(given)} mentions has a gold entity among other candidates; nothing to fit")
    dense, names, learned = _softmax_weights(examples)
    fusion = Fusion("weighted_sum", dense, names, learned)
    index.fitted = index.fitted.with_fusion(fusion)
    return fusion


def _softmax_weights(examples: list[tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]]) -> tuple[float, ...]:
    """Return the weights under which the golds are likeliest; a small ridge penalty keeps them finite."""
    from scipy.optimize import minimize
    from scipy.special import logsumexp, softmax

    width = np.concatenate([scores for scores, _ in examples]).std(axis=0)
    width[width < 1e-9] = np.inf  # a score that never differs gets no weight
    scaled = [(scores / width, golds) for scores, golds in examples]

    def loss(weights: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        total, slope = _RIDGE * float(weights @ weights), 2 * _RIDGE * weights
        for scores, golds in scaled:
            logits = scores @ weights
            total += float(logsumexp(logits) - logsumexp(logits[golds])) / len(scaled)
            slope = slope + (softmax(logits) @ scores - softmax(logits[golds]) @ scores[golds]) / len(scaled)
        return total, slope

    found = minimize(loss, np.ones(3), jac=True).x
    return tuple(float(weight) for weight in found / width)
