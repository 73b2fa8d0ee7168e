from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import ENTITIES, MENTIONS
from small_training import train_small

from modelscope_plugin.data import Mention
from modelscope_plugin.encoding import EntityEncoder
from modelscope_plugin.errors import InputError


def test_training_learns_the_mentions(base_folder: Path, tmp_path: Path) -> None:
    result = train_small(base_folder, tmp_path / "out", eval_mentions=MENTIONS, ks=[1, 2])
    assert result.best.losses[-1] < result.best.losses[0] / 2
    assert result.best.evaluation is not None
    assert result.best.evaluation["recall@1"] == 1.0
    assert not result.best.collapsed


def test_output_folder_gives_the_vectors_that_were_evaluated(base_folder: Path, tmp_path: Path) -> None:
    result = train_small(base_folder, tmp_path / "out", eval_mentions=MENTIONS, ks=[1])
    encoder = EntityEncoder.from_pretrained(tmp_path / "out", device="cpu")
    scores = encoder.encode_query(MENTIONS) @ encoder.encode_document(ENTITIES).T
    hits = [ENTITIES[row].id in mention.entity_ids for row, mention in zip(scores.argmax(1), MENTIONS, strict=True)]
    assert result.best.evaluation is not None
    assert np.mean(hits) == result.best.evaluation["recall@1"]


def test_same_seed_gives_the_same_weights(base_folder: Path, tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("one", "two", "other")]
    for folder, seed in zip(folders, (1, 1, 2), strict=True):
        train_small(base_folder, folder, max_epochs=2, batch_size=2, seed=seed)
    one, two, other = (EntityEncoder.from_pretrained(folder, device="cpu").fingerprint for folder in folders)
    assert one == two
    assert one != other


def test_configuration_of_the_output_holds_what_was_used(base_folder: Path, tmp_path: Path) -> None:
    train_small(base_folder, tmp_path / "out", max_epochs=1, max_length=64)
    configuration = json.loads((tmp_path / "out" / "configuration.json").read_text())
    assert configuration["model"] == {
        "type": "entity-embedding",
        "emb_pooler_type": "avg",
        "normalize": False,
        "towers": 1,
    }
    assert configuration["preprocessor"]["max_length"] == 64
    assert configuration["train"]["temperature"] == 8.0


def test_evaluation_without_gold_is_refused_before_training(base_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none of the 1 evaluation mentions has a gold entity"):
        train_small(base_folder, tmp_path / "out", eval_mentions=[Mention("大鹏", 0, 2)])
    assert not (tmp_path / "out").exists()


def test_output_folder_with_other_files_is_refused_before_training(base_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "diary.txt").write_text("mine")
    with pytest.raises(InputError, match="holds other files"):
        train_small(base_folder, tmp_path)
    assert (tmp_path / "diary.txt").read_text() == "mine"


def test_cls_pooling_learns_from_random_weights(base_folder: Path, tmp_path: Path) -> None:
    result = train_small(
        base_folder, tmp_path / "out", emb_pooler_type="cls", max_epochs=60, eval_mentions=MENTIONS, ks=[1]
    )
    assert result.best.evaluation is not None
    assert (result.best.collapsed, result.best.evaluation["recall@1"]) == (False, 1.0)


def test_eval_steps_without_evaluation_mentions_is_refused(base_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"train\.eval_steps needs evaluation mentions"):
        train_small(base_folder, tmp_path / "out", eval_steps=1)
