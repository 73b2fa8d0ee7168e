"""The loss of a dual encoder."""

from __future__ import annotations

import torch
from torch.nn import functional


def contrastive_loss(
    mentions: torch.Tensor,
    candidates: torch.Tensor,
    pairs: torch.Tensor,
    golds: torch.Tensor,
    temperature: float,
    symmetric: bool = False,
    views: torch.Tensor | None = None,
) -> torch.Tensor:
    """Softmax over the candidates of the batch, for each pair of a mention and one of its gold entities.

    The candidates are the gold entities of all mentions of the batch (the in-batch negatives of BLINK, Wu et al.
    2020) and all their hard negatives. A gold entity of a mention is never its negative.

    Args:
        mentions: Mention vectors (n, dim).
        candidates: Entity vectors (m, dim), each entity once; with ``views`` those of all views.
        pairs: Row of a mention and column of its entity, int64 (p, 2).
        golds: Bool (n, m), true where a candidate is a gold entity of a mention.
        temperature: What the dot products are divided by.
        symmetric: Whether to add the loss of finding the mention of a gold entity among the mentions, as
            CLIP does (Radford et al. 2021); the mean of both is taken.
        views: Where entities have several vectors: the rows in ``candidates`` of those of each entity, int64 (m, most
            views), -1 for padding. The best of them is the score of the entity (Ma et al. 2021), never padding.

    Returns:
        The mean over the pairs, a scalar in float32.
    """
    scores = (mentions @ candidates.T).float() / temperature
    if views is not None:
        scores = _best_views(scores, views)
    own = scores[pairs[:, 0], pairs[:, 1]]
    others = scores.masked_fill(golds, torch.finfo(scores.dtype).min)
    # log(1 + sum of exp(other - own)): the cross-entropy of the own entity among itself and all negatives.
    loss = functional.softplus(others.logsumexp(1)[pairs[:, 0]] - own).mean()
    if symmetric:
        back = functional.softplus(others.logsumexp(0)[pairs[:, 1]] - own).mean()
        loss = (loss + back) / 2
    return loss


def _best_views(scores: torch.Tensor, views: torch.Tensor) -> torch.Tensor:
    """From scores of views (n, views) to those of entities (n, m)."""
    every = scores.index_select(1, views.clamp(min=0).flatten()).view(-1, *views.shape)
    return every.masked_fill(views < 0, -torch.inf).max(2).values
