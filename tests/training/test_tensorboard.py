from __future__ import annotations

from pathlib import Path

import pytest
from conftest import MENTIONS
from small_training import train_small

from modelscope_plugin.errors import InputError


def test_tensorboard_gets_loss_rate_and_recall(base_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train_small(
        base_folder, tmp_path / "out", eval_mentions=MENTIONS, ks=[1], eval_steps=2, max_epochs=4,
        tensorboard=tmp_path / "board",
    )  # fmt: skip
    events = EventAccumulator(str(tmp_path / "board"))
    events.Reload()
    assert {"stage_1/loss", "stage_1/learning_rate", "stage_1/recall@1"} <= set(events.Tags()["scalars"])
    assert [event.step for event in events.Scalars("stage_1/recall@1")] == [2, 4]


@pytest.mark.parametrize("place", ["out/runs", "out.training/runs", "out"])
def test_tensorboard_in_a_folder_that_is_replaced_is_refused(base_folder: Path, tmp_path: Path, place: str) -> None:
    with pytest.raises(InputError, match="is replaced as a whole; name a folder elsewhere"):
        train_small(base_folder, tmp_path / "out", tensorboard=tmp_path / place)
