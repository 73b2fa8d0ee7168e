from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import MENTIONS
from small_training import train_small, weights_of

from modelscope_plugin.errors import TrainingError


def test_loss_that_is_no_number_stops_training(base_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="the loss is NaN at step 2; lower the learning rate"):
        train_small(base_folder, tmp_path / "out", learning_rate=1e30, max_grad_norm=0.0, batch_size=3, max_epochs=3)


def test_best_weights_on_the_way_are_kept(base_folder: Path, tmp_path: Path) -> None:
    result = train_small(
        base_folder, tmp_path / "out", eval_mentions=MENTIONS, ks=[1], eval_steps=2, max_epochs=20, batch_size=3,
        lr_scheduler_type="constant",
    )  # fmt: skip
    assert result.best.evaluation is not None
    assert result.best.evaluation["recall@1"] == 1.0
    assert result.best.best_step < result.best.steps == 40


def test_early_stop_ends_the_stage(base_folder: Path, tmp_path: Path) -> None:
    result = train_small(
        base_folder, tmp_path / "out", eval_mentions=MENTIONS, ks=[1], eval_steps=2, early_stopping_patience=2,
        max_epochs=50,
    )  # fmt: skip
    assert result.best.steps == result.best.best_step + 4 < 50


def test_early_stop_inside_the_first_epoch(base_folder: Path, tmp_path: Path) -> None:
    result = train_small(
        base_folder, tmp_path / "out", MENTIONS * 10, eval_mentions=MENTIONS, ks=[6], eval_steps=1, batch_size=2,
        early_stopping_patience=1,
    )  # fmt: skip
    assert result.best.steps == 2
    assert len(result.best.losses) == 1


def test_gradient_accumulation_makes_fewer_steps(base_folder: Path, tmp_path: Path) -> None:
    result = train_small(base_folder, tmp_path / "out", batch_size=2, gradient_accumulation_steps=2, max_epochs=3)
    assert result.best.steps == 6


def test_cached_batch_trains_to_the_weights_of_the_plain_one(base_folder: Path, tmp_path: Path) -> None:
    for name, size in (("plain", 0), ("cached", 2)):
        train_small(base_folder, tmp_path / name, max_epochs=4, mini_batch_size=size)
    for name, value in weights_of(tmp_path / "plain").items():
        torch.testing.assert_close(weights_of(tmp_path / "cached")[name], value, atol=1e-4, rtol=0)


def test_divergence_keeps_the_best_weights_until_then(
    base_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    result = train_small(
        base_folder, tmp_path / "out", eval_mentions=MENTIONS, ks=[1], eval_steps=1, learning_rate=1e30,
        max_grad_norm=0.0,
    )  # fmt: skip
    assert result.best.best_step == 1
    assert "the best weights until then are kept" in caplog.text
    assert all(torch.isfinite(value).all() for value in weights_of(tmp_path / "out").values())


def test_bf16_trains(base_folder: Path, tmp_path: Path) -> None:
    result = train_small(base_folder, tmp_path / "out", mixed_precision="bf16", mini_batch_size=4)
    assert result.best.losses[-1] < result.best.losses[0] / 2
