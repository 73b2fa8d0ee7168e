from __future__ import annotations

import math

import pytest
import torch

from modelscope_plugin.training.reranking.losses import LOSSES, binary_loss, guessing_loss, listwise_loss

SCORES = torch.tensor([[2.0, 1.0, -1.0], [0.5, 3.0, -torch.inf]])


def test_listwise_loss_is_the_log_likelihood_of_the_gold_entity() -> None:
    rows = [[2.0, 1.0, -1.0], [0.5, 3.0]]
    expected = [-math.log(math.exp(row[0]) / sum(map(math.exp, row))) for row in rows]
    torch.testing.assert_close(listwise_loss(SCORES), torch.tensor(expected))


def test_binary_loss_weighs_the_gold_entity_like_all_others_together() -> None:
    def logistic(score: float) -> float:
        return 1 / (1 + math.exp(-score))

    first = -math.log(logistic(2)) - (math.log(1 - logistic(1)) + math.log(1 - logistic(-1))) / 2
    second = -math.log(logistic(0.5)) - math.log(1 - logistic(3))
    torch.testing.assert_close(binary_loss(SCORES), torch.tensor([first, second]))


@pytest.mark.parametrize("loss", LOSSES)
def test_padding_has_no_gradient(loss: str) -> None:
    scores = SCORES.clone().requires_grad_()
    torch.autograd.backward(LOSSES[loss](scores).sum())
    assert scores.grad is not None
    assert torch.isfinite(scores.grad).all()
    assert scores.grad[1, 2] == 0


@pytest.mark.parametrize("loss", LOSSES)
def test_guessing_loss_is_that_of_equal_scores(loss: str) -> None:
    scores = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, -torch.inf]])
    assert math.isclose(LOSSES[loss](scores).mean().item(), guessing_loss(loss, [3, 2]), rel_tol=1e-6)
