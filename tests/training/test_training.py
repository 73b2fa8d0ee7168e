from __future__ import annotations

import json
import logging
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ENTITIES, MENTIONS, write_entities, write_mentions
from safetensors.torch import load_file
from transformers import AutoTokenizer

from modelscope_plugin.config.configuration import default_configuration
from modelscope_plugin.config.training_settings import read_training_settings
from modelscope_plugin.data import Entity, Mention
from modelscope_plugin.encoding import EntityEncoder
from modelscope_plugin.errors import InputError, TrainingError
from modelscope_plugin.retrieval import EntityIndex
from modelscope_plugin.retrieval.building import build_index
from modelscope_plugin.training import stages
from modelscope_plugin.training.loop import Loop, set_dropout
from modelscope_plugin.training.mining import mine_negatives
from modelscope_plugin.training.record import RECORD_FILE
from modelscope_plugin.training.results import TrainingResult
from modelscope_plugin.training.training import train


def _train(model: Path, output: Path, mentions: list[Mention] = MENTIONS, **changes: Any) -> TrainingResult:
    names = ("eval_mentions", "ks", "resume", "tensorboard")
    options = {name: changes.pop(name) for name in names if name in changes}
    changes = {
        "max_epochs": 20,
        "batch_size": 6,
        "learning_rate": 2e-3,
        "emb_pooler_type": "avg",
        "temperature": 8.0,
    } | changes
    settings = read_training_settings(default_configuration(), **changes)
    return train(model, lambda: ENTITIES, mentions, output, *settings, device="cpu", **options)


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def test_training_learns_the_mentions(base_folder: Path, tmp_path: Path) -> None:
    result = _train(base_folder, tmp_path / "out", eval_mentions=MENTIONS, ks=[1, 2])
    assert result.best.losses[-1] < result.best.losses[0] / 2
    assert result.best.evaluation is not None
    assert result.best.evaluation["recall@1"] == 1.0
    assert not result.best.collapsed


def test_output_folder_gives_the_vectors_that_were_evaluated(base_folder: Path, tmp_path: Path) -> None:
    result = _train(base_folder, tmp_path / "out", eval_mentions=MENTIONS, ks=[1])
    encoder = EntityEncoder.from_pretrained(tmp_path / "out", device="cpu")
    scores = encoder.encode_query(MENTIONS) @ encoder.encode_document(ENTITIES).T
    hits = [ENTITIES[row].id in mention.entity_ids for row, mention in zip(scores.argmax(1), MENTIONS, strict=True)]
    assert result.best.evaluation is not None
    assert np.mean(hits) == result.best.evaluation["recall@1"]


def test_same_seed_gives_the_same_weights(base_folder: Path, tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("one", "two", "other")]
    for folder, seed in zip(folders, (1, 1, 2), strict=True):
        _train(base_folder, folder, max_epochs=2, batch_size=2, seed=seed)
    one, two, other = (EntityEncoder.from_pretrained(folder, device="cpu").fingerprint for folder in folders)
    assert one == two
    assert one != other


def test_markers_are_added_and_saved_for_every_loader(unmarked_folder: Path, tmp_path: Path) -> None:
    _train(unmarked_folder, tmp_path / "out", max_epochs=1)
    text = "小品里 [ENT_S] 大鹏 [ENT_E] 很好笑"
    encoder = EntityEncoder.from_pretrained(tmp_path / "out", device="cpu")
    ids = AutoTokenizer.from_pretrained(tmp_path / "out")(text)["input_ids"]
    assert ids == encoder.tokenizer.mention_ids([text])[0]
    assert encoder.tokenizer.tokenizer.convert_ids_to_tokens(ids).count("[ENT_S]") == 1
    assert encoder.model.mention_tower.get_input_embeddings().num_embeddings == len(encoder.tokenizer.tokenizer)


def test_two_towers_are_trained_and_saved(base_folder: Path, tmp_path: Path) -> None:
    _train(base_folder, tmp_path / "out", max_epochs=2, towers=2)
    encoder = EntityEncoder.from_pretrained(tmp_path / "out", device="cpu")
    assert encoder.model.towers == 2
    assert not np.allclose(encoder.encode_query(["苹果"]), encoder.encode_document(["苹果"]), atol=1e-4)


def test_knowledge_base_alone_is_enough_with_kb_mentions(base_folder: Path, tmp_path: Path) -> None:
    result = _train(base_folder, tmp_path / "out", mentions=[], kb_mentions=3, max_epochs=2)
    assert json.loads((tmp_path / "out" / RECORD_FILE).read_text())["data"]["train"]["mentions"] == 36
    assert len(result.best.losses) == 2


def test_configuration_of_the_output_holds_what_was_used(base_folder: Path, tmp_path: Path) -> None:
    _train(base_folder, tmp_path / "out", max_epochs=1, max_length=64)
    configuration = json.loads((tmp_path / "out" / "configuration.json").read_text())
    assert configuration["model"] == {
        "type": "entity-embedding",
        "emb_pooler_type": "avg",
        "normalize": False,
        "towers": 1,
    }
    assert configuration["preprocessor"]["max_length"] == 64
    assert configuration["train"]["temperature"] == 8.0


def test_record_holds_settings_versions_and_losses(base_folder: Path, tmp_path: Path) -> None:
    result = _train(base_folder, tmp_path / "out", max_epochs=2)
    record = json.loads((tmp_path / "out" / RECORD_FILE).read_text())
    assert record["losses"] == result.best.losses
    assert record["settings"]["learning_rate"] == 2e-3
    assert record["data"]["knowledge_base"]["count"] == 6
    assert len(record["data"]["train"]["checksum"]) == 32
    assert set(record["versions"]) == {"modelscope_plugin", "torch", "transformers", "python"}


def test_record_names_the_base_by_its_whole_path(
    base_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(base_folder.parent)
    _train(Path(base_folder.name), tmp_path / "out", max_epochs=1)
    assert json.loads((tmp_path / "out" / RECORD_FILE).read_text())["base_model"] == str(base_folder.resolve())


def test_evaluation_without_gold_is_refused_before_training(base_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none of the 1 evaluation mentions has a gold entity"):
        _train(base_folder, tmp_path / "out", eval_mentions=[Mention("大鹏", 0, 2)])
    assert not (tmp_path / "out").exists()


def test_model_is_kept_when_the_evaluation_fails(
    base_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stages, "build_index", lambda *_, **__: pytest.fail("no memory left"))
    with pytest.raises(pytest.fail.Exception):
        _train(base_folder, tmp_path / "out", max_epochs=1, eval_mentions=MENTIONS)
    stage = tmp_path / "out.training" / "stage-1"
    assert EntityEncoder.from_pretrained(stage, device="cpu").dimension == 64


def test_prefixes_of_the_base_are_kept(base_folder: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(base_folder, base)
    (base / "configuration.json").write_text(json.dumps({"preprocessor": {"boq": "小品", "bod": "名"}}))
    _train(base, tmp_path / "out", max_epochs=1)
    section = json.loads((tmp_path / "out" / "configuration.json").read_text())["preprocessor"]
    assert (section["boq"], section["bod"]) == ("小品", "名")


def test_collapse_is_said(base_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        result = _train(base_folder, tmp_path / "out", max_epochs=1, learning_rate=1e-9, temperature=1e6)
    assert result.best.collapsed
    assert math.isclose(result.best.losses[-1], math.log(6), rel_tol=1e-2)
    assert "the model has not learned" in caplog.text


def test_loss_that_is_no_number_stops_and_keeps_the_earlier_model(base_folder: Path, tmp_path: Path) -> None:
    _train(base_folder, tmp_path / "out", max_epochs=1)
    before = (tmp_path / "out" / RECORD_FILE).read_text()
    with pytest.raises(TrainingError, match="the loss is nan at step 3; lower the learning rate"):
        _train(base_folder, tmp_path / "out", learning_rate=1e30, max_grad_norm=0.0)
    assert (tmp_path / "out" / RECORD_FILE).read_text() == before


def test_divergence_leaves_the_latest_checkpoint_as_a_model(
    base_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    whole = _train(base_folder, tmp_path / "whole", max_epochs=3, lr_scheduler_type="constant")
    assert whole.best.steps == 3
    step = Loop._step

    def diverging(self: Loop, batches: list[Any]) -> torch.Tensor:
        return step(self, batches) * (math.nan if self.progress.step == 3 else 1)

    monkeypatch.setattr(Loop, "_step", diverging)
    with pytest.raises(TrainingError, match="the loss is nan at step 4"):
        _train(base_folder, tmp_path / "out", max_epochs=9, lr_scheduler_type="constant")
    saved = tmp_path / "out.training" / "stage-1-unfinished"
    assert f"the latest checkpoint is saved as the model {saved}" in caplog.text
    for name, value in _weights(tmp_path / "whole").items():
        assert torch.equal(_weights(saved)[name], value)


def test_loss_that_is_no_number_stops_training(base_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="the loss is nan at step 2; lower the learning rate"):
        _train(base_folder, tmp_path / "out", learning_rate=1e30, max_grad_norm=0.0, batch_size=3, max_epochs=3)


def test_batch_larger_than_the_data_is_said(
    base_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        _train(base_folder, tmp_path / "out", max_epochs=1, batch_size=64)
    assert "a batch of 64 is more than the 6 training mentions" in caplog.text


def test_output_folder_with_other_files_is_refused_before_training(base_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "diary.txt").write_text("mine")
    with pytest.raises(InputError, match="holds other files"):
        _train(base_folder, tmp_path)
    assert (tmp_path / "diary.txt").read_text() == "mine"


def test_two_stages_mine_and_keep_the_better_model(base_folder: Path, tmp_path: Path) -> None:
    result = _train(
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
    once = _train(base_folder, tmp_path / "once", eval_mentions=MENTIONS, ks=[1])
    result = _train(
        base_folder, tmp_path / "out", stages=2, eval_mentions=MENTIONS, ks=[1], stage_two_max_epochs=3,
        stage_two_learning_rate=0.5,
    )  # fmt: skip
    assert result.stages[1].evaluation is not None
    assert once.best.evaluation is not None
    assert result.stages[1].evaluation["recall@1"] < once.best.evaluation["recall@1"] == 1.0
    assert result.best.stage == 1
    assert _weights(tmp_path / "out").keys() == _weights(tmp_path / "once").keys()
    for name, value in _weights(tmp_path / "once").items():
        assert torch.equal(_weights(tmp_path / "out")[name], value)


def test_stages_run_apart_are_those_run_together(base_folder: Path, tmp_path: Path) -> None:
    together = _train(base_folder, tmp_path / "together", stages=2, max_epochs=2)
    encoder = EntityEncoder.from_pretrained(tmp_path / "together", device="cpu")
    assert together.best.stage == 2
    _train(base_folder, tmp_path / "one", max_epochs=2)
    one = EntityEncoder.from_pretrained(tmp_path / "one", device="cpu")
    _, mining = read_training_settings(default_configuration())
    mined = mine_negatives(one, build_index(one, ENTITIES), MENTIONS, mining)
    _train(tmp_path / "one", tmp_path / "two", mined.mentions, max_epochs=2)
    apart = EntityEncoder.from_pretrained(tmp_path / "two", device="cpu")
    # Only the seed of the order differs.
    np.testing.assert_allclose(encoder.encode_query(MENTIONS), apart.encode_query(MENTIONS), atol=0.3)
    assert not np.allclose(one.encode_query(MENTIONS), apart.encode_query(MENTIONS), atol=0.05)


def test_best_weights_on_the_way_are_kept(base_folder: Path, tmp_path: Path) -> None:
    result = _train(
        base_folder, tmp_path / "out", eval_mentions=MENTIONS, ks=[1], eval_steps=2, max_epochs=20, batch_size=3,
        lr_scheduler_type="constant",
    )  # fmt: skip
    assert result.best.evaluation is not None
    assert result.best.evaluation["recall@1"] == 1.0
    assert result.best.best_step < result.best.steps == 40


def test_early_stop_ends_the_stage(base_folder: Path, tmp_path: Path) -> None:
    result = _train(
        base_folder, tmp_path / "out", eval_mentions=MENTIONS, ks=[1], eval_steps=2, early_stopping_patience=2,
        max_epochs=50,
    )  # fmt: skip
    assert result.best.steps == result.best.best_step + 4 < 50


def test_measurements_on_the_way_are_capped(base_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    index_of = stages.build_index

    def counted(encoder: EntityEncoder, entities: Any, **options: Any) -> EntityIndex:
        index = index_of(encoder, entities, **options)
        sizes.append(len(index))
        return index

    monkeypatch.setattr(stages, "build_index", counted)
    _train(
        base_folder, tmp_path / "out", eval_mentions=MENTIONS[:1], ks=[1], eval_steps=1, eval_max_entities=2,
        max_epochs=2,
    )  # fmt: skip
    assert sizes[-1] == 6
    assert all(1 <= size < 6 for size in sizes[:-1])
    assert len(sizes) == 3


def test_tensorboard_gets_loss_rate_and_recall(base_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    _train(
        base_folder, tmp_path / "out", eval_mentions=MENTIONS, ks=[1], eval_steps=2, max_epochs=4,
        tensorboard=tmp_path / "board",
    )  # fmt: skip
    events = EventAccumulator(str(tmp_path / "board"))
    events.Reload()
    assert {"stage_1/loss", "stage_1/learning_rate", "stage_1/recall@1"} <= set(events.Tags()["scalars"])
    assert [event.step for event in events.Scalars("stage_1/recall@1")] == [2, 4]


def test_gradient_accumulation_makes_fewer_steps(base_folder: Path, tmp_path: Path) -> None:
    result = _train(base_folder, tmp_path / "out", batch_size=2, gradient_accumulation_steps=2, max_epochs=3)
    assert result.best.steps == 6


def test_cached_batch_trains_to_the_weights_of_the_plain_one(base_folder: Path, tmp_path: Path) -> None:
    for name, size in (("plain", 0), ("cached", 2)):
        _train(base_folder, tmp_path / name, max_epochs=4, mini_batch_size=size)
    for name, value in _weights(tmp_path / "plain").items():
        torch.testing.assert_close(_weights(tmp_path / "cached")[name], value, atol=1e-4, rtol=0)


def test_cls_pooling_learns_from_random_weights(base_folder: Path, tmp_path: Path) -> None:
    result = _train(base_folder, tmp_path / "out", emb_pooler_type="cls", max_epochs=60, eval_mentions=MENTIONS, ks=[1])
    assert result.best.evaluation is not None
    assert (result.best.collapsed, result.best.evaluation["recall@1"]) == (False, 1.0)


def test_dropout_is_that_of_the_settings(base_folder: Path) -> None:
    encoder = EntityEncoder.from_pretrained(base_folder, device="cpu")
    encoder.model.train()
    padded = encoder.tokenizer.pad(encoder.tokenizer.mention_ids(MENTIONS))
    inputs = {name: torch.from_numpy(value) for name, value in padded.items()}
    assert not torch.equal(encoder.model.embed("mention", **inputs), encoder.model.embed("mention", **inputs))
    set_dropout(encoder.model, 0.0)
    assert torch.equal(encoder.model.embed("mention", **inputs), encoder.model.embed("mention", **inputs))


def test_too_small_a_disk_is_said_before_training(
    base_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**6, 10**6, 10**5))
    with pytest.raises(TrainingError, match=r"has 0 MB free and the checkpoints of a run need .* make room"):
        _train(base_folder, tmp_path / "out")
    assert not any(tmp_path.iterdir())


def test_full_disk_at_the_end_can_be_resumed_with_room_for_the_model(
    base_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copytree", lambda *_, **__: os.open("/dev/full/none", os.O_RDONLY))
        with pytest.raises(TrainingError, match="make room on the disk and go on with resume"):
            _train(base_folder, tmp_path / "out", max_epochs=1)
    size = (base_folder / "model.safetensors").stat().st_size
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 2 * size))
    _train(base_folder, tmp_path / "out", max_epochs=1, resume=True)
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


def test_refused_resume_leaves_the_run_for_the_right_one(base_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError):
        _train(base_folder, tmp_path / "out", stages=2, stage_two_learning_rate=1e30, max_grad_norm=0.0)
    for _ in range(2):
        with pytest.raises(TrainingError, match="holds a training with other ks, settings"):
            _train(base_folder, tmp_path / "out", stages=2, ks=[1], max_grad_norm=0.0, resume=True)


@pytest.mark.parametrize("place", ["out/runs", "out.training/runs", "out"])
def test_tensorboard_in_a_folder_that_is_replaced_is_refused(base_folder: Path, tmp_path: Path, place: str) -> None:
    with pytest.raises(InputError, match="is replaced as a whole; name a folder elsewhere"):
        _train(base_folder, tmp_path / "out", tensorboard=tmp_path / place)


def test_eval_steps_without_evaluation_mentions_is_refused(base_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"train\.eval_steps needs evaluation mentions"):
        _train(base_folder, tmp_path / "out", eval_steps=1)


def test_fp16_on_a_cpu_is_refused(base_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="mixed_precision=fp16 needs a GPU"):
        _train(base_folder, tmp_path / "out", mixed_precision="fp16")


def test_bf16_trains(base_folder: Path, tmp_path: Path) -> None:
    result = _train(base_folder, tmp_path / "out", mixed_precision="bf16", mini_batch_size=4)
    assert result.best.losses[-1] < result.best.losses[0] / 2


def _command(*arguments: object, processes: int = 1) -> list[str]:
    launcher = [sys.executable, "-m"]
    if processes > 1:
        launcher += ["torch.distributed.run", "--standalone", "--nproc_per_node", str(processes), "-m"]
    return [*launcher, "modelscope_plugin", "train", *map(str, arguments)]


def _options(base: Path, tmp_path: Path, **changes: object) -> list[object]:
    knowledge_base, mentions = write_entities(tmp_path / "kb.jsonl"), write_mentions(tmp_path / "m.jsonl", MENTIONS * 4)
    options = {
        "--model": base, "--kb": knowledge_base, "--train": mentions, "--pooling": "avg", "--temperature": 8,
        "--learning-rate": 2e-3, "--device": "cpu", **{f"--{key.replace('_', '-')}": changes[key] for key in changes},
    }  # fmt: skip
    return [item for pair in options.items() for item in pair]


def test_killed_run_goes_on_to_the_weights_of_one_that_was_not(base_folder: Path, tmp_path: Path) -> None:
    options = _options(
        base_folder, tmp_path, stages=2, epochs=40, batch_size=4, dropout=0.1, save_steps=3, random_negatives=2
    )
    subprocess.run(_command(*options, "--out", tmp_path / "whole"), check=True, capture_output=True, timeout=300)
    out = tmp_path / "killed"
    for stage in (1, 2):
        process = subprocess.Popen(
            _command(*options, "--out", out, "--resume"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        progress = tmp_path / "killed.training" / f"checkpoints-{stage}" / "checkpoint" / "progress.json"
        deadline = time.monotonic() + 120
        while not progress.exists() and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert progress.exists()
        assert not out.exists()
    refused = subprocess.run(_command(*options, "--out", out), capture_output=True, text=True, timeout=300, check=False)
    assert refused.returncode == 1
    assert "--resume" in refused.stderr
    subprocess.run(_command(*options, "--out", out, "--resume"), check=True, capture_output=True, timeout=300)
    expected = _weights(tmp_path / "whole")
    assert all(torch.equal(value, expected[name]) for name, value in _weights(out).items())
    assert not (tmp_path / "killed.training").exists()


@pytest.mark.parametrize("views", [1, 3])
def test_two_processes_are_one_with_twice_the_batch(base_folder: Path, tmp_path: Path, views: int) -> None:
    # 24 mentions in batches of 10: the last batch is smaller, and its shares are uneven.
    common: dict[str, object] = {"epochs": 2, "stages": 2, "towers": 2, "views": views}
    for name, processes, batch, random, mini in (("one", 1, 10, 4, 32), ("two", 2, 5, 2, 3)):
        options = _options(
            base_folder, tmp_path, batch_size=batch, random_negatives=random, mini_batch_size=mini, **common
        )
        command = _command(*options, "--out", tmp_path / name, processes=processes)
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("the model is in") == 1
    expected = _weights(tmp_path / "one")
    start = load_file(base_folder / "model.safetensors")
    moved = max((start[name] - value).abs().max().item() for name, value in expected.items() if name in start)
    assert moved > 5e-3
    for name, value in _weights(tmp_path / "two").items():
        torch.testing.assert_close(value, expected[name], atol=2e-4, rtol=0)


def test_early_stop_inside_the_first_epoch(base_folder: Path, tmp_path: Path) -> None:
    result = _train(
        base_folder, tmp_path / "out", MENTIONS * 10, eval_mentions=MENTIONS, ks=[6], eval_steps=1, batch_size=2,
        early_stopping_patience=1,
    )  # fmt: skip
    assert result.best.steps == 2
    assert len(result.best.losses) == 1


def test_divergence_keeps_the_best_weights_until_then(
    base_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    result = _train(
        base_folder, tmp_path / "out", eval_mentions=MENTIONS, ks=[1], eval_steps=1, learning_rate=1e30,
        max_grad_norm=0.0,
    )  # fmt: skip
    assert result.best.best_step == 1
    assert "the best weights until then are kept" in caplog.text
    assert all(torch.isfinite(value).all() for value in _weights(tmp_path / "out").values())


def test_divergence_of_stage_two_keeps_the_model_of_stage_one(base_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="lower the learning rate"):
        _train(base_folder, tmp_path / "out", stages=2, stage_two_learning_rate=1e30, max_grad_norm=0.0)
    stage = tmp_path / "out.training" / "stage-1"
    assert EntityEncoder.from_pretrained(stage, device="cpu").dimension == 64


def test_finished_run_is_not_repeated(base_folder: Path, tmp_path: Path) -> None:
    first = _train(base_folder, tmp_path / "out", max_epochs=1, resume=True)
    written = (tmp_path / "out" / RECORD_FILE).stat().st_mtime_ns
    again = _train(base_folder, tmp_path / "out", max_epochs=1, resume=True)
    assert again == first
    assert (tmp_path / "out" / RECORD_FILE).stat().st_mtime_ns == written
    _train(base_folder, tmp_path / "out", max_epochs=2, resume=True)
    assert (tmp_path / "out" / RECORD_FILE).stat().st_mtime_ns > written


def test_own_negatives_stay_beside_mined_ones(
    base_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    made = stages.Examples

    def noted(entities: Any, mentions: Any, *arguments: Any, **options: Any) -> Any:
        given = list(mentions)
        seen.append(len(given[0].negatives))
        return made(entities, given, *arguments, **options)

    monkeypatch.setattr(stages, "Examples", noted)
    own = [replace(MENTIONS[0], negatives=("river",)), *MENTIONS[1:]]
    _train(base_folder, tmp_path / "out", own, stages=2, max_epochs=1, num_negatives=5)
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
    result = _train(base_folder, tmp_path / "out", stages=3, max_epochs=1, absolute_margin=1e6)
    assert [stage.stage for stage in result.stages] == [1]
    assert "mining found no hard negative" in caplog.text


def test_dev_mentions_of_another_knowledge_base_are_found_before_training(base_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"lacks every gold entity of the evaluation mentions .*'Q404'"):
        _train(base_folder, tmp_path / "out", eval_mentions=[Mention("大鹏", 0, 2, ("Q404",))])
    assert not any(tmp_path.iterdir())


def test_left_out_mentions_are_counted(base_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    others = [Mention("某", 0, 1, ("Q404",)), Mention("某", 0, 1, nil="NIL")]
    with caplog.at_level(logging.INFO):
        _train(base_folder, tmp_path / "out", [*MENTIONS, *others], max_epochs=1, skip_unknown=True)
    # The two are records of one mention.
    assert "training on 6 mentions of 6 entities; left out: 0 NIL, 0 unlabelled, 2 of unknown entities" in caplog.text
    assert json.loads((tmp_path / "out" / RECORD_FILE).read_text())["data"]["train"]["unknown"] == 2


def test_batch_without_a_negative_is_said(base_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    _train(base_folder, tmp_path / "out", MENTIONS[:1], max_epochs=1, random_negatives=0)
    assert "no batch held a negative; raise batch_size or random_negatives" in caplog.text
