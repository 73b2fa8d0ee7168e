from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ENTITIES, MENTIONS
from small_training import train_small, weights_of

from modelscope_plugin.config.configuration import default_configuration
from modelscope_plugin.config.training_settings import read_training_settings
from modelscope_plugin.data import Entity, Mention
from modelscope_plugin.encoding import EntityEncoder
from modelscope_plugin.errors import TrainingError
from modelscope_plugin.retrieval.building import build_index
from modelscope_plugin.training import training_data
from modelscope_plugin.training.hard_negative_mining import mine_negatives
from modelscope_plugin.training.record import RECORD_FILE
from modelscope_plugin.training.training import train


def test_two_stages_mine_and_keep_the_better_model(base_folder: Path, tmp_path: Path) -> None:
    result = train_small(
        base_folder, tmp_path / "out", stages=2, max_epochs=1, stage_two_max_epochs=40, eval_mentions=MENTIONS, ks=[1]
    )
    recalls = [stage.evaluation["recall@1"] for stage in result.stages if stage.evaluation]
    assert result.best.stage == max(stage for stage, recall in enumerate(recalls, 1) if recall == max(recalls))
    assert recalls[1] == 1.0
    mining = result.stages[1].mining
    assert mining is not None
    assert mining["mentions_by_negatives"] == {"5": 6}
    record = json.loads((tmp_path / "out" / RECORD_FILE).read_text())
    assert [stage["stage"] for stage in record["stages"]] == [1, 2]
    assert record["evaluation"]["recall@1"] == max(recalls)
    # What was needed on the way is gone.
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_worse_second_stage_is_not_kept(base_folder: Path, tmp_path: Path) -> None:
    once = train_small(base_folder, tmp_path / "once", eval_mentions=MENTIONS, ks=[1])
    result = train_small(
        base_folder, tmp_path / "out", stages=2, eval_mentions=MENTIONS, ks=[1], stage_two_max_epochs=3,
        stage_two_learning_rate=0.5,
    )  # fmt: skip
    assert result.stages[1].evaluation is not None
    assert once.best.evaluation is not None
    assert result.stages[1].evaluation["recall@1"] < once.best.evaluation["recall@1"] == 1.0
    assert result.best.stage == 1
    assert weights_of(tmp_path / "out").keys() == weights_of(tmp_path / "once").keys()
    for name, value in weights_of(tmp_path / "once").items():
        assert torch.equal(weights_of(tmp_path / "out")[name], value)


def test_stages_run_apart_are_those_run_together(base_folder: Path, tmp_path: Path) -> None:
    together = train_small(base_folder, tmp_path / "together", stages=2, max_epochs=2)
    encoder = EntityEncoder.from_pretrained(tmp_path / "together", device="cpu")
    assert together.best.stage == 2
    train_small(base_folder, tmp_path / "one", max_epochs=2)
    one = EntityEncoder.from_pretrained(tmp_path / "one", device="cpu")
    _, mining = read_training_settings(default_configuration())
    mined = mine_negatives(one, build_index(one, ENTITIES), MENTIONS, mining)
    train_small(tmp_path / "one", tmp_path / "two", mined.mentions, max_epochs=2)
    apart = EntityEncoder.from_pretrained(tmp_path / "two", device="cpu")
    # Only the seed of the order differs.
    np.testing.assert_allclose(encoder.encode_query(MENTIONS), apart.encode_query(MENTIONS), atol=0.3)
    assert not np.allclose(one.encode_query(MENTIONS), apart.encode_query(MENTIONS), atol=0.05)


def test_divergence_of_stage_two_keeps_the_model_of_stage_one(base_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="lower the learning rate"):
        train_small(base_folder, tmp_path / "out", stages=2, stage_two_learning_rate=1e30, max_grad_norm=0.0)
    stage = tmp_path / "out.training" / "stage-1"
    assert EntityEncoder.from_pretrained(stage, device="cpu").dimension == 64


def test_own_negatives_stay_beside_mined_ones(
    base_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    made = training_data.Examples

    def noted(entities: Any, mentions: Any, *arguments: Any, **options: Any) -> Any:
        given = list(mentions)
        seen.append(len(given[0].negatives))
        return made(entities, given, *arguments, **options)

    monkeypatch.setattr(training_data, "Examples", noted)
    own = [replace(MENTIONS[0], negatives=("river",)), *MENTIONS[1:]]
    train_small(base_folder, tmp_path / "out", own, stages=2, max_epochs=1, num_negatives=5)
    assert seen == [1, 5]


def test_any_text_and_any_id_goes_through_both_stages(base_folder: Path, tmp_path: Path) -> None:
    entities = [*ENTITIES, Entity("NIL_x", "苹果"), Entity(" spaced ", "苹果")]
    mentions = [*MENTIONS, Mention("[ENT_S] 苹果", 8, 10, ("NIL_x",)), Mention("苹果", 0, 2, (" spaced ",))]
    settings = read_training_settings(default_configuration(), stages=2, max_epochs=1, batch_size=4)
    result = train(base_folder, lambda: entities, mentions, tmp_path / "out", *settings, device="cpu")
    assert result.stages[1].mining is not None
    assert result.stages[1].mining["mentions"] == 8


def test_mining_without_a_find_ends_with_the_stage_before(
    base_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    result = train_small(base_folder, tmp_path / "out", stages=3, max_epochs=1, absolute_margin=1e6)
    assert [stage.stage for stage in result.stages] == [1]
    assert "mining found no hard negative" in caplog.text


def test_finished_run_is_not_repeated(base_folder: Path, tmp_path: Path) -> None:
    first = train_small(base_folder, tmp_path / "out", max_epochs=1, resume=True)
    written = (tmp_path / "out" / RECORD_FILE).stat().st_mtime_ns
    again = train_small(base_folder, tmp_path / "out", max_epochs=1, resume=True)
    assert again == first
    assert (tmp_path / "out" / RECORD_FILE).stat().st_mtime_ns == written
    train_small(base_folder, tmp_path / "out", max_epochs=2, resume=True, overwrite=True)
    assert (tmp_path / "out" / RECORD_FILE).stat().st_mtime_ns > written


def test_refused_resume_leaves_the_run_for_the_right_one(base_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError):
        train_small(base_folder, tmp_path / "out", stages=2, stage_two_learning_rate=1e30, max_grad_norm=0.0)
    for _ in range(2):
        with pytest.raises(TrainingError, match="holds a training with other ks, settings"):
            train_small(base_folder, tmp_path / "out", stages=2, ks=[1], max_grad_norm=0.0, resume=True)


def test_too_small_a_disk_is_said_before_training(
    base_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**6, 10**6, 10**5))
    with pytest.raises(TrainingError, match=r"has 0 MB free and the checkpoints of a run need .* make room"):
        train_small(base_folder, tmp_path / "out")
    assert not any(tmp_path.iterdir())


def test_full_disk_at_the_end_can_be_resumed_with_room_for_the_model(
    base_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copytree", lambda *_, **__: os.open("/dev/full/none", os.O_RDONLY))
        with pytest.raises(TrainingError, match="make room on the disk and resume"):
            train_small(base_folder, tmp_path / "out", max_epochs=1)
    size = (base_folder / "model.safetensors").stat().st_size
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 2 * size))
    train_small(base_folder, tmp_path / "out", max_epochs=1, resume=True)
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


def test_the_highest_seed_goes_through_both_stages(base_folder: Path, tmp_path: Path) -> None:
    assert len(train_small(base_folder, tmp_path / "out", stages=2, max_epochs=1, seed=2**31 - 1).stages) == 2


def test_damaged_negatives_are_mined_again_once_they_are_deleted(base_folder: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"stages": 2, "stage_two_learning_rate": 1e30, "max_grad_norm": 0.0, "resume": True}
    with pytest.raises(TrainingError, match="lower the learning rate"):
        train_small(base_folder, tmp_path / "out", **options)
    file = tmp_path / "out.training" / "negatives-2.json"
    mined = file.read_text()
    for content in ("{", "[]", '{"report": {}, "negatives": [[99, []]]}'):
        file.write_text(content)
        with pytest.raises(TrainingError, match=r"negatives-2\.json is damaged .*; delete it and resume"):
            train_small(base_folder, tmp_path / "out", **options)
    file.unlink()
    with pytest.raises(TrainingError, match="lower the learning rate"):
        train_small(base_folder, tmp_path / "out", **options)
    assert file.read_text() == mined


def test_loss_that_is_no_number_stops_and_keeps_the_earlier_model(base_folder: Path, tmp_path: Path) -> None:
    train_small(base_folder, tmp_path / "out", max_epochs=1)
    before = (tmp_path / "out" / RECORD_FILE).read_text()
    with pytest.raises(TrainingError, match="the loss is NaN at step 3; lower the learning rate"):
        train_small(base_folder, tmp_path / "out", learning_rate=1e30, max_grad_norm=0.0, overwrite=True)
    assert (tmp_path / "out" / RECORD_FILE).read_text() == before
