from __future__ import annotations

import math

import torch

from modelscope_plugin.trainers.losses import in_batch_loss


def _vectors(seed: int) -> torch.Tensor:
    return torch.randn(5, 8, generator=torch.Generator().manual_seed(seed))


def test_loss_equals_the_formula_written_out() -> None:
    mentions, entities, masked = _vectors(0), _vectors(1), torch.zeros(5, 5, dtype=torch.bool)
    masked[1, 3] = True
    total = 0.0
    for i in range(5):
        scores = {j: math.exp(float(mentions[i] @ entities[j]) / 2) for j in range(5) if not masked[i, j]}
        total -= math.log(scores[i] / sum(scores.values()))
    assert math.isclose(in_batch_loss(mentions, entities, masked, 2.0).item(), total / 5, rel_tol=1e-5)


def test_equal_vectors_give_the_loss_of_guessing() -> None:
    loss = in_batch_loss(torch.ones(8, 4), torch.ones(8, 4), torch.zeros(8, 8, dtype=torch.bool), 1.0)
    assert math.isclose(loss.item(), math.log(8), rel_tol=1e-6)


def test_masked_entity_gets_no_gradient_from_that_mention() -> None:
    mentions, entities = _vectors(0), _vectors(1).requires_grad_()
    masked = ~torch.eye(5, dtype=torch.bool)
    in_batch_loss(mentions, entities, masked, 1.0).backward()
    assert entities.grad is not None
    assert torch.count_nonzero(entities.grad) == 0
