from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from conftest import MENTIONS
from small_training import train_small

from modelscope_plugin.data import Mention
from modelscope_plugin.errors import InputError
from modelscope_plugin.training.record import RECORD_FILE


def test_batch_larger_than_the_data_is_said(
    base_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        train_small(base_folder, tmp_path / "out", max_epochs=1, batch_size=64)
    assert "a batch of 64 is more than the 6 training mentions" in caplog.text


def test_dev_mentions_of_another_knowledge_base_are_found_before_training(base_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"lacks every gold entity of the evaluation mentions .*'Q404'"):
        train_small(base_folder, tmp_path / "out", eval_mentions=[Mention("大鹏", 0, 2, ("Q404",))])
    assert not any(tmp_path.iterdir())


def test_left_out_mentions_are_counted(base_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    others = [Mention("某", 0, 1, ("Q404",)), Mention("某", 0, 1, nil="NIL")]
    with caplog.at_level(logging.INFO):
        train_small(base_folder, tmp_path / "out", [*MENTIONS, *others], max_epochs=1, skip_unknown=True)
    # The two are records of one mention.
    assert "training on 6 mentions of 6 entities; left out: 0 NIL, 0 unlabelled, 2 of unknown entities" in caplog.text
    assert json.loads((tmp_path / "out" / RECORD_FILE).read_text())["data"]["train"]["unknown"] == 2


def test_knowledge_base_alone_is_enough_with_kb_mentions(base_folder: Path, tmp_path: Path) -> None:
    result = train_small(base_folder, tmp_path / "out", mentions=[], kb_mentions=3, max_epochs=2)
    assert json.loads((tmp_path / "out" / RECORD_FILE).read_text())["data"]["train"]["mentions"] == 36
    assert len(result.best.losses) == 2
