from __future__ import annotations

import json
import logging
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ENTITIES, MENTIONS
from transformers import AutoTokenizer

from modelscope_plugin.configuration import default_configuration
from modelscope_plugin.data import Mention
from modelscope_plugin.encoding import EntityEncoder
from modelscope_plugin.errors import InputError, TrainingError
from modelscope_plugin.trainers import training
from modelscope_plugin.trainers.settings import TrainingSettings
from modelscope_plugin.trainers.training import RECORD_FILE, TrainingResult, train


def _train(model: Path, output: Path, mentions: list[Mention] = MENTIONS, **changes: Any) -> TrainingResult:
    options = {name: changes.pop(name) for name in ("eval_mentions", "ks") if name in changes}
    changes = {
        "max_epochs": 20,
        "batch_size": 6,
        "learning_rate": 2e-3,
        "emb_pooler_type": "avg",
        "temperature": 8.0,
    } | changes
    settings = TrainingSettings.from_configuration(default_configuration(), **changes)
    return train(model, lambda: ENTITIES, mentions, output, settings, device="cpu", **options)


def test_training_learns_the_mentions(base_folder: Path, tmp_path: Path) -> None:
    result = _train(base_folder, tmp_path / "out", eval_mentions=MENTIONS, ks=[1, 2])
    assert result.losses[-1] < result.losses[0] / 2
    assert result.evaluation is not None
    assert result.evaluation.recall[1] == 1.0
    assert not result.collapsed


def test_output_folder_gives_the_vectors_that_were_evaluated(base_folder: Path, tmp_path: Path) -> None:
    result = _train(base_folder, tmp_path / "out", eval_mentions=MENTIONS, ks=[1])
    encoder = EntityEncoder.from_pretrained(tmp_path / "out", device="cpu")
    scores = encoder.encode_query(MENTIONS) @ encoder.encode_document(ENTITIES).T
    hits = [ENTITIES[row].id in mention.entity_ids for row, mention in zip(scores.argmax(1), MENTIONS, strict=True)]
    assert result.evaluation is not None
    assert np.mean(hits) == result.evaluation.recall[1]


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
    assert json.loads((tmp_path / "out" / RECORD_FILE).read_text())["mentions"] == 36
    assert len(result.losses) == 2


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
    assert record["losses"] == result.losses
    assert record["settings"]["learning_rate"] == 2e-3
    assert set(record["versions"]) == {"modelscope_plugin", "torch", "transformers", "python"}


def test_evaluation_without_gold_is_refused_before_training(base_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none of the 1 evaluation mentions has a gold entity"):
        _train(base_folder, tmp_path / "out", eval_mentions=[Mention("大鹏", 0, 2)])
    assert not (tmp_path / "out").exists()


def test_model_is_kept_when_the_evaluation_fails(
    base_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "build_index", lambda *_, **__: pytest.fail("no memory left"))
    with pytest.raises(pytest.fail.Exception):
        _train(base_folder, tmp_path / "out", max_epochs=1, eval_mentions=MENTIONS)
    assert EntityEncoder.from_pretrained(tmp_path / "out", device="cpu").dimension == 64


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
    assert result.collapsed
    assert math.isclose(result.losses[-1], math.log(6), rel_tol=1e-2)
    assert "the model has not learned" in caplog.text


def test_loss_that_is_no_number_stops_and_keeps_the_earlier_model(base_folder: Path, tmp_path: Path) -> None:
    _train(base_folder, tmp_path / "out", max_epochs=1)
    before = (tmp_path / "out" / RECORD_FILE).read_text()
    with pytest.raises(TrainingError, match="the loss is nan"):
        _train(base_folder, tmp_path / "out", learning_rate=1e30, max_grad_norm=0.0)
    assert (tmp_path / "out" / RECORD_FILE).read_text() == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_batch_larger_than_the_data_is_said(
    base_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        _train(base_folder, tmp_path / "out", max_epochs=1, batch_size=64)
    assert "batch_size=64 is more than the 6 training pairs" in caplog.text


def test_output_folder_with_other_files_is_refused_before_training(base_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "diary.txt").write_text("mine")
    with pytest.raises(InputError, match="holds other files"):
        _train(base_folder, tmp_path)
    assert (tmp_path / "diary.txt").read_text() == "mine"
