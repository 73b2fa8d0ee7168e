from __future__ import annotations

import math

import pytest
import torch

from modelscope_plugin.training.losses import contrastive_loss


def _vectors(rows: int, seed: int) -> torch.Tensor:
    return torch.randn(rows, 8, generator=torch.Generator().manual_seed(seed))


def _batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Three mentions, the second with two golds, and five candidates, the last of them a negative of all."""
    golds = torch.zeros(3, 5, dtype=torch.bool)
    for row, column in [(0, 0), (1, 1), (1, 3), (2, 2)]:
        golds[row, column] = True
    return _vectors(3, 0), _vectors(5, 1), torch.tensor([(0, 0), (1, 1), (2, 2)]), golds


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_loss_equals_the_formula_written_out(temperature: float) -> None:
    mentions, candidates, pairs, golds = _batch()
    total = 0.0
    for row, column in pairs.tolist():
        scores = {
            other: math.exp(float(mentions[row] @ candidates[other]) / temperature)
            for other in range(5)
            if other == column or not golds[row, other]
        }
        total -= math.log(scores[column] / sum(scores.values()))
    loss = contrastive_loss(mentions, candidates, pairs, golds, temperature)
    assert math.isclose(loss.item(), total / 3, rel_tol=1e-5)


def test_symmetric_loss_adds_the_search_for_the_mention() -> None:
    mentions, candidates, pairs, golds = _batch()
    back = 0.0
    for row, column in pairs.tolist():
        scores = {o: math.exp(float(mentions[o] @ candidates[column])) for o in range(3)}
        back -= math.log(scores[row] / sum(v for o, v in scores.items() if o == row or not golds[o, column]))
    one_way = contrastive_loss(mentions, candidates, pairs, golds, 1.0).item()
    loss = contrastive_loss(mentions, candidates, pairs, golds, 1.0, symmetric=True)
    assert math.isclose(loss.item(), (one_way + back / 3) / 2, rel_tol=1e-5)


def test_equal_vectors_give_the_loss_of_guessing() -> None:
    golds = torch.eye(8, dtype=torch.bool)
    pairs = torch.arange(8).repeat(2, 1).T
    loss = contrastive_loss(torch.ones(8, 4), torch.ones(8, 4), pairs, golds, 1.0)
    assert math.isclose(loss.item(), math.log(8), rel_tol=1e-6)


def test_another_gold_gets_no_gradient_from_its_mention() -> None:
    mentions, candidates, _, golds = _batch()
    candidates.requires_grad_()
    contrastive_loss(mentions[1:2], candidates, torch.tensor([(0, 1)]), golds[1:2], 1.0).backward()
    assert candidates.grad is not None
    assert torch.equal(candidates.grad[3], torch.zeros(8))
    assert candidates.grad[4].abs().sum() > 0


def test_mention_without_any_negative_gives_zero_and_no_nan() -> None:
    mention = _vectors(1, 0).requires_grad_()
    loss = contrastive_loss(mention, _vectors(1, 1), torch.tensor([(0, 0)]), torch.ones(1, 1, dtype=torch.bool), 0.05)
    loss.backward()
    assert mention.grad is not None
    assert (loss.item(), mention.grad.abs().sum().item()) == (0.0, 0.0)
