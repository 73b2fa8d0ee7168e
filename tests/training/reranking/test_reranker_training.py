from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import ENTITIES, MENTIONS
from small_reranking import KINDS, command_options, rerank_settings, train_small_reranker, weights_of

from modelscope_plugin.cli.main import main
from modelscope_plugin.data import Mention, entity_text
from modelscope_plugin.encoding import EntityEncoder
from modelscope_plugin.encoding.cross_encoder import CrossEncoder
from modelscope_plugin.errors import IndexMismatchError, InputError, TrainingError
from modelscope_plugin.training.reranking import job
from modelscope_plugin.training.reranking.stage import ListObjective
from modelscope_plugin.training.reranking.training import train_reranker


@pytest.mark.parametrize("kind", KINDS)
def test_reranker_learns_and_is_recorded(model_folder: Path, tmp_path: Path, kind: str) -> None:
    result = train_small_reranker(
        model_folder, tmp_path / "out", type=kind, eval_mentions=MENTIONS, max_epochs=30, ks=[1, 4]
    )
    assert result.best.losses[-1] < result.best.losses[0] / 2
    record = json.loads((tmp_path / "out" / "training.json").read_text())
    assert record["settings"]["type"] == kind
    assert record["first_step"]["retrieval"] == "hybrid"
    assert record["stages"][0]["mining"]["first_step"]["recall@1"] <= 1
    assert record["evaluation"]["recall@4"] == 1.0
    configuration = json.loads((tmp_path / "out" / "configuration.json").read_text())
    assert (configuration["task"], configuration["model"]["type"]) == ("text-ranking", f"entity-{kind}")
    assert configuration["train"]["reranking"]["max_epochs"] == 30
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_trained_cross_encoder_prefers_the_gold_entity(model_folder: Path, tmp_path: Path) -> None:
    train_small_reranker(model_folder, tmp_path / "out", type="cross-encoder", max_epochs=40)
    texts = {entity.id: entity_text(entity) for entity in ENTITIES}
    reader = CrossEncoder.from_pretrained(tmp_path / "out", device="cpu")
    right = reader.predict([(mention, texts[mention.entity_ids[0]]) for mention in MENTIONS])
    wrong = reader.predict([(mention, text) for mention in MENTIONS for text in texts.values()]).reshape(6, 6)
    assert (right >= wrong.max(1)).sum() >= 5


def test_binary_loss_trains_a_cross_encoder(model_folder: Path, tmp_path: Path) -> None:
    result = train_small_reranker(model_folder, tmp_path / "out", type="cross-encoder", loss="binary", max_epochs=30)
    assert result.best.losses[-1] < result.best.losses[0] / 2


def test_best_epoch_is_kept(model_folder: Path, tmp_path: Path) -> None:
    result = train_small_reranker(
        model_folder, tmp_path / "out", eval_mentions=MENTIONS, ks=[1], learning_rate=0.5, max_epochs=4,
        lr_scheduler_type="constant",
    )  # fmt: skip
    assert result.best.best_step < result.best.steps == 8


def test_late_interaction_starts_from_the_dual_encoder(model_folder: Path, tmp_path: Path) -> None:
    train_small_reranker(model_folder, tmp_path / "out", max_epochs=1, learning_rate=1e-12)
    start = weights_of(model_folder)
    for name, value in weights_of(tmp_path / "out").items():
        torch.testing.assert_close(value, start[name], atol=1e-6, rtol=0)
    assert EntityEncoder.from_pretrained(tmp_path / "out", device="cpu").dimension == 64


def test_index_gives_the_same_training_as_its_knowledge_base(
    model_folder: Path, index_folder: Path, tmp_path: Path
) -> None:
    train_small_reranker(model_folder, tmp_path / "kb", max_epochs=2)
    train_small_reranker(model_folder, tmp_path / "index", max_epochs=2, index=index_folder)
    expected = weights_of(tmp_path / "kb")
    assert all(torch.equal(value, expected[name]) for name, value in weights_of(tmp_path / "index").items())


def test_index_of_another_model_is_refused(unmarked_folder: Path, index_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(IndexMismatchError):
        train_small_reranker(unmarked_folder, tmp_path / "out", index=index_folder)
    assert not (tmp_path / "out.training").exists()


def test_other_base_is_trained_on_the_candidates_of_the_dual_encoder(
    model_folder: Path, unmarked_folder: Path, tmp_path: Path
) -> None:
    train_small_reranker(model_folder, tmp_path / "out", base=unmarked_folder, max_epochs=1)
    record = json.loads((tmp_path / "out" / "training.json").read_text())
    assert record["base_model"] == str(unmarked_folder)
    assert record["first_step"]["model"] == EntityEncoder.from_pretrained(model_folder, device="cpu").fingerprint


def test_unknown_gold_entity_is_refused_or_left_out(model_folder: Path, tmp_path: Path) -> None:
    mentions = [*MENTIONS, Mention("大鹏", 0, 2, ("nobody",))]
    with pytest.raises(TrainingError, match="'nobody' of mention '大鹏'"):
        train_small_reranker(model_folder, tmp_path / "out", mentions)
    train_small_reranker(model_folder, tmp_path / "out", mentions, skip_unknown=True, max_epochs=1)
    record = json.loads((tmp_path / "out" / "training.json").read_text())
    assert record["data"]["train"]["unknown"] == 1


def test_evaluation_mentions_of_another_knowledge_base_are_refused(model_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="lacks every gold entity of the evaluation mentions"):
        train_small_reranker(model_folder, tmp_path / "out", eval_mentions=[Mention("大鹏", 0, 2, ("nobody",))])


def test_gold_entities_of_an_evaluation_mention_are_taken_together(model_folder: Path, tmp_path: Path) -> None:
    twice = [Mention("大鹏", 0, 2, (one,)) for one in ("roc", "dapeng")]
    result = train_small_reranker(model_folder, tmp_path / "out", eval_mentions=twice, max_epochs=1, ks=[1, 2])
    assert result.best.mining is not None
    assert result.best.mining["first_step"]["recall@1"] == 1.0


def test_knowledge_base_alone_trains(model_folder: Path, tmp_path: Path) -> None:
    result = train_small_reranker(model_folder, tmp_path / "out", [], kb_mentions=2, max_epochs=1)
    assert result.best.mining is not None
    assert result.best.mining["mentions"] == 24  # two of each name


def test_entities_and_index_together_are_refused(model_folder: Path, index_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="either entities or an index"):
        train_reranker(
            model_folder, MENTIONS, tmp_path / "out", rerank_settings(), entities=lambda: ENTITIES, index=index_folder
        )


def test_mini_batches_give_the_gradient_of_the_whole_batch(model_folder: Path, tmp_path: Path) -> None:
    for name, size in (("whole", 0), ("pieces", 2)):
        train_small_reranker(model_folder, tmp_path / name, max_epochs=2, mini_batch_size=size, batch_size=6)
    expected = weights_of(tmp_path / "whole")
    for name, value in weights_of(tmp_path / "pieces").items():
        torch.testing.assert_close(value, expected[name], atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_bf16_trains(model_folder: Path, tmp_path: Path, kind: str) -> None:
    result = train_small_reranker(model_folder, tmp_path / "out", type=kind, mixed_precision="bf16", max_epochs=30)
    assert result.best.losses[-1] < result.best.losses[0] / 2


def test_divergence_is_said(model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ListObjective, "backward", lambda *_: torch.tensor(float("nan")))
    with pytest.raises(TrainingError, match="the loss is NaN at step 1; lower the learning rate"):
        train_small_reranker(model_folder, tmp_path / "out")


def test_candidates_are_not_ranked_again_after_an_interruption(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backward = ListObjective.backward

    def interrupt(*_: object) -> torch.Tensor:
        raise KeyboardInterrupt

    monkeypatch.setattr(ListObjective, "backward", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train_small_reranker(model_folder, tmp_path / "out")
    monkeypatch.setattr(ListObjective, "backward", backward)
    monkeypatch.setattr(job, "rank_candidates", lambda *_: pytest.fail("ranked again"))
    train_small_reranker(model_folder, tmp_path / "out", resume=True)
    assert not (tmp_path / "out.training").exists()


def test_damaged_candidates_are_named(model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ListObjective, "backward", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train_small_reranker(model_folder, tmp_path / "out")
    (tmp_path / "out.training" / "candidates-train.json").write_text('{"candidates": [["roc"]]}')
    with pytest.raises(TrainingError, match=r"candidates-train\.json is damaged .*1 mentions, not 6"):
        train_small_reranker(model_folder, tmp_path / "out", resume=True)


@pytest.mark.process
def test_killed_training_resumes_to_the_weights_of_one_that_was_not_killed(model_folder: Path, tmp_path: Path) -> None:
    options = command_options(model_folder, tmp_path, epochs=12, batch_size=4, dropout=0.1, save_steps=3)
    assert main(["train-reranker", *options, "--out", str(tmp_path / "whole")]) == 0
    killed = ["train-reranker", *options, "--out", str(tmp_path / "killed")]
    process = subprocess.Popen(
        [sys.executable, "-m", "modelscope_plugin", *killed], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    checkpoint = tmp_path / "killed.training" / "checkpoints-1" / "checkpoint" / "progress.json"
    deadline = time.monotonic() + 120
    while not checkpoint.exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert checkpoint.exists()
    assert main([*killed, "--resume"]) == 0
    expected = weights_of(tmp_path / "whole")
    assert all(torch.equal(value, expected[name]) for name, value in weights_of(tmp_path / "killed").items())


@pytest.mark.process
def test_two_processes_are_one_with_twice_the_batch(model_folder: Path, tmp_path: Path) -> None:
    options = command_options(model_folder, tmp_path, epochs=2, dev=tmp_path / "m.jsonl", k=1)
    two = ["train-reranker", *options, "--batch-size", "5", "--out", str(tmp_path / "two")]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [*command, "-m", "modelscope_plugin", *two],
        capture_output=True, text=True, timeout=300, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("the model is in") == 1
    assert main(["train-reranker", *options, "--batch-size", "10", "--out", str(tmp_path / "one")]) == 0
    expected, start = weights_of(tmp_path / "one"), weights_of(model_folder)
    assert max((start[name] - value).abs().max().item() for name, value in expected.items()) > 2e-3
    for name, value in weights_of(tmp_path / "two").items():
        torch.testing.assert_close(value, expected[name], atol=2e-4, rtol=0)


def test_command_prints_the_first_step_beside_the_reranker(
    model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    options = command_options(model_folder, tmp_path, epochs=1, dev=tmp_path / "m.jsonl")
    with caplog.at_level(logging.INFO):
        assert main(["train-reranker", *options, "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr()
    assert "dev, first step" in printed.out
    assert "dev, re-ranker alone" in printed.out
    assert "trained on 24 mentions with 120 negatives" in printed.err
    assert "first step: Recall@1" in caplog.text


def test_command_takes_the_model_from_the_index(
    index_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = command_options(index_folder, tmp_path, epochs=1)[4:]
    arguments = ["train-reranker", "--index", str(index_folder), *options, "--json", "--out", str(tmp_path / "out")]
    assert main(arguments) == 0
    assert json.loads(capsys.readouterr().out)["stage"] == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--kb", "kb.jsonl"], "--model is needed with --kb"),
        (["--kb", "kb.jsonl", "--index", "index"], "either --index or --kb"),
    ],
)
def test_command_says_what_is_missing(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train-reranker", *options, "--train", "m.jsonl", "--out", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err
