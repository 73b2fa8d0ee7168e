"""The loss of a dual encoder."""

from __future__ import annotations

import torch
from torch.nn import functional


def in_batch_loss(
    mentions: torch.Tensor, entities: torch.Tensor, masked: torch.Tensor, temperature: float
) -> torch.Tensor:
    """Softmax over the entities of the batch: the mention's own is right, the others are negatives.

    The in-batch random negatives of BLINK (Wu et al. 2020) and of the model card's first stage.

    Args:
        mentions: Mention vectors (n, dim).
        entities: Entity vectors (n, dim); row i belongs to mention i.
        masked: Bool (n, n), true where an entity must not be a negative of a mention.
        temperature: What the dot products are divided by.

    Returns:
        The mean cross-entropy, a scalar in float32.
    """
    scores = (mentions @ entities.T).float() / temperature
    scores = scores.masked_fill(masked, float("-inf"))
    return functional.cross_entropy(scores, torch.arange(len(scores), device=scores.device))
