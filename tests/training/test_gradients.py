from __future__ import annotations

import contextlib
from functools import partial
from pathlib import Path

import pytest
import torch
from conftest import ENTITIES, MENTIONS

from modelscope_plugin.encoding import EntityEncoder
from modelscope_plugin.training import gradients
from modelscope_plugin.training.encoder_setup import set_dropout
from modelscope_plugin.training.epoch_batches import Batch, Batches
from modelscope_plugin.training.examples import Examples
from modelscope_plugin.training.gradients import GradientComputer
from modelscope_plugin.training.losses import contrastive_loss
from modelscope_plugin.training.process_group import ProcessGroup

CPU = torch.device("cpu")
LOSS = partial(contrastive_loss, temperature=0.5, symmetric=True)


@pytest.fixture(scope="module")
def trained(base_folder: Path) -> EntityEncoder:
    """An encoder of two towers."""
    encoder = EntityEncoder.from_pretrained(base_folder, device="cpu", emb_pooler_type="avg")
    encoder.model.separate_towers()
    return encoder


@pytest.fixture(scope="module")
def batch(trained: EntityEncoder) -> Batch:
    """All mentions with the whole knowledge base as candidates."""
    examples = Examples(ENTITIES, MENTIONS[:5], trained.tokenizer, whole=True)
    return next(iter(Batches(examples, 5, 0, random_negatives=30).epoch(0)))


def _gradient(
    encoder: EntityEncoder, batch: Batch, mini_batch_size: int, dtype: torch.dtype | None = None
) -> tuple[float, torch.Tensor]:
    """Loss and gradient of all weights, from one state of the random numbers."""
    torch.manual_seed(7)
    encoder.model.zero_grad()
    encoder.model.train()
    computer = GradientComputer(
        encoder.model,
        encoder.tokenizer,
        LOSS,
        ProcessGroup(0, 1, CPU),
        mini_batch_size,
        lambda: torch.autocast("cpu", dtype) if dtype else contextlib.nullcontext(),
    )
    loss = computer.backward(batch, lambda gradient: gradient)
    encoder.model.eval()
    return loss.item(), torch.cat([p.grad.flatten() for p in encoder.model.parameters() if p.grad is not None])


def _reference(encoder: EntityEncoder, batch: Batch) -> tuple[float, torch.Tensor]:
    """The same by plain back-propagation through the whole batch at once."""
    encoder.model.zero_grad()
    vectors = []
    for side, texts in (("mention", batch.mentions), ("entity", batch.candidates)):
        padded = {name: torch.from_numpy(value) for name, value in encoder.tokenizer.pad(texts).items()}
        vectors.append(encoder.model.embed(side, **padded))  # type: ignore[arg-type]
    loss = LOSS(vectors[0], vectors[1], batch.pairs, batch.golds)
    loss.backward()
    return loss.item(), torch.cat([p.grad.flatten() for p in encoder.model.parameters() if p.grad is not None])


@pytest.mark.parametrize("mini_batch_size", [0, 1, 2, 4, 100])
def test_gradient_is_that_of_the_whole_batch(trained: EntityEncoder, batch: Batch, mini_batch_size: int) -> None:
    set_dropout(trained.model, 0.0)
    loss, gradient = _gradient(trained, batch, mini_batch_size)
    expected_loss, expected = _reference(trained, batch)
    assert loss == pytest.approx(expected_loss, rel=1e-5)
    assert expected.abs().max() > 1e-2
    torch.testing.assert_close(gradient, expected, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_cached_gradient_sees_the_same_dropout_twice(
    trained: EntityEncoder, batch: Batch, dtype: torch.dtype | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gradients, "_PIECES", {"cpu": 2})
    set_dropout(trained.model, 0.3)
    plain_loss, plain = _gradient(trained, batch, 0, dtype)
    cached_loss, cached = _gradient(trained, batch, 2, dtype)
    assert cached_loss == plain_loss
    torch.testing.assert_close(cached, plain, atol=1e-6, rtol=1e-5)


def test_caching_keeps_no_graph_of_the_batch(
    trained: EntityEncoder, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive: list[int] = []
    embed = GradientComputer._embed

    def counted(self: GradientComputer, side: str, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        vectors = embed(self, side, inputs)  # type: ignore[arg-type]
        if vectors.requires_grad:
            alive.append(len(vectors))
        return vectors

    monkeypatch.setattr(GradientComputer, "_embed", counted)
    _gradient(trained, batch, 2)
    # Each piece has its graph once, and none holds more than two texts.
    assert sum(alive) == len(batch.mentions) + len(batch.candidates)
    assert max(alive) == 2


def test_gradients_are_scaled(trained: EntityEncoder, batch: Batch) -> None:
    set_dropout(trained.model, 0.0)
    _, whole = _gradient(trained, batch, 0)
    trained.model.zero_grad()
    computer = GradientComputer(
        trained.model, trained.tokenizer, LOSS, ProcessGroup(0, 1, CPU), 0, contextlib.nullcontext
    )
    computer.backward(batch, lambda gradient: gradient / 4)
    half = torch.cat([p.grad.flatten() for p in trained.model.parameters() if p.grad is not None])
    torch.testing.assert_close(4 * half, whole, atol=1e-6, rtol=1e-4)
