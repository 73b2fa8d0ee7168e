from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import MENTIONS
from small_training import train_small, weights_of

from modelscope_plugin.encoding import EntityEncoder
from modelscope_plugin.errors import TrainingError
from modelscope_plugin.training import stage_evaluation
from modelscope_plugin.training.loop import Loop


def test_divergence_leaves_the_latest_checkpoint_as_a_model(
    base_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    whole = train_small(base_folder, tmp_path / "whole", max_epochs=3, lr_scheduler_type="constant")
    assert whole.best.steps == 3
    step = Loop._step

    def diverging(self: Loop, batches: list[Any]) -> torch.Tensor:
        return step(self, batches) * (math.nan if self.progress.step == 3 else 1)

    monkeypatch.setattr(Loop, "_step", diverging)
    with pytest.raises(TrainingError, match="the loss is NaN at step 4"):
        train_small(base_folder, tmp_path / "out", max_epochs=9, lr_scheduler_type="constant")
    saved = tmp_path / "out.training" / "stage-1-unfinished"
    assert f"the latest checkpoint is saved as the model {saved}" in caplog.text
    for name, value in weights_of(tmp_path / "whole").items():
        assert torch.equal(weights_of(saved)[name], value)


def test_collapse_is_said(base_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        result = train_small(base_folder, tmp_path / "out", max_epochs=1, learning_rate=1e-9, temperature=1e6)
    assert result.best.collapsed
    assert math.isclose(result.best.losses[-1], math.log(6), rel_tol=1e-2)
    assert "the model has not learned" in caplog.text


def test_batch_without_a_negative_is_said(base_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    result = train_small(base_folder, tmp_path / "out", MENTIONS[:1], max_epochs=1, random_negatives=0)
    assert not result.best.collapsed
    assert (
        "stage 1 has nothing to learn from: no batch held a negative; raise batch_size or random_negatives"
        in caplog.text
    )


def test_model_is_kept_when_the_evaluation_fails(
    base_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage_evaluation, "index_entities", lambda *_, **__: pytest.fail("no memory left"))
    with pytest.raises(pytest.fail.Exception):
        train_small(base_folder, tmp_path / "out", max_epochs=1, eval_mentions=MENTIONS)
    stage = tmp_path / "out.training" / "stage-1"
    assert EntityEncoder.from_pretrained(stage, device="cpu").dimension == 64
