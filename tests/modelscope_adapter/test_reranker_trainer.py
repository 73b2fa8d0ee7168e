from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conftest import ENTITIES, MENTIONS
from modelscope.trainers import build_trainer

import modelscope_plugin  # noqa: F401  (registers the plugin)
from modelscope_plugin.encoding.cross_encoder import CrossEncoder
from modelscope_plugin.errors import InputError

NAME = "entity-reranking-trainer"


def _faster(cfg: Any) -> Any:
    cfg.train.reranking.type = "cross-encoder"
    cfg.train.reranking.lr = 2e-3
    return cfg


def _arguments(model_folder: Path, tmp_path: Path, **changes: Any) -> dict[str, Any]:
    arguments = {
        "model": str(model_folder),
        "knowledge_base": ENTITIES,
        "train_dataset": MENTIONS,
        "eval_dataset": MENTIONS,
        "work_dir": str(tmp_path / "work"),
        "cfg_modify_fn": _faster,
        "max_epochs": 2,
        "device": "cpu",
    }
    return arguments | changes


def test_trainer_writes_a_cross_encoder(model_folder: Path, tmp_path: Path) -> None:
    trainer = build_trainer(NAME, default_args=_arguments(model_folder, tmp_path))
    figures = trainer.train()
    assert len(figures["losses"]) == 2
    assert figures["recall@16"] == 1.0
    reader = CrossEncoder.from_pretrained(tmp_path / "work" / "output", device="cpu")
    assert reader.predict([(MENTIONS[0], ENTITIES[0])]).shape == (1,)
    evaluated = trainer.evaluate()
    assert evaluated["mentions"] == evaluated["seen_mentions"] == 6
    assert evaluated["first_step_recall@1"] == figures["stages"][0]["mining"]["first_step"]["recall@1"]


def test_trainer_takes_an_index(model_folder: Path, index_folder: Path, tmp_path: Path) -> None:
    arguments = _arguments(model_folder, tmp_path, knowledge_base=None, index=str(index_folder), eval_dataset=None)
    trainer = build_trainer(NAME, default_args=arguments)
    assert trainer.train()["stages"][0]["evaluation"] is None
    with pytest.raises(InputError, match="no eval_dataset"):
        trainer.evaluate()


def test_missing_training_dataset_is_said(model_folder: Path, tmp_path: Path) -> None:
    trainer = build_trainer(NAME, default_args=_arguments(model_folder, tmp_path, train_dataset=None))
    with pytest.raises(InputError, match="no train_dataset"):
        trainer.train()


def test_unknown_argument_is_refused(model_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown argument 'learning_rate'"):
        build_trainer(NAME, default_args=_arguments(model_folder, tmp_path, learning_rate=1))
