from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ENTITIES, MENTIONS
from modelscope.msdatasets import MsDataset
from modelscope.pipelines import pipeline
from modelscope.trainers import build_trainer

import modelscope_plugin  # noqa: F401  (registers the plugin)
from modelscope_plugin.encoding import EntityEncoder
from modelscope_plugin.errors import InputError

NAME = "entity-embedding-trainer"


def _faster(cfg: Any) -> Any:
    cfg.train.optimizer.lr = 2e-3
    cfg.train.dataloader.batch_size_per_gpu = 6
    cfg.train.temperature = 8.0
    cfg.model.emb_pooler_type = "avg"
    cfg.evaluation.metrics[0].k = [1, 2]
    return cfg


def _arguments(base_folder: Path, tmp_path: Path, **changes: Any) -> dict[str, Any]:
    arguments = {
        "model": str(base_folder),
        "knowledge_base": ENTITIES,
        "train_dataset": MENTIONS,
        "eval_dataset": MENTIONS,
        "work_dir": str(tmp_path / "work"),
        "cfg_modify_fn": _faster,
        "max_epochs": 20,
        "device": "cpu",
    }
    return arguments | changes


def test_trainer_writes_a_folder_that_the_pipeline_opens(base_folder: Path, tmp_path: Path) -> None:
    trainer = build_trainer(NAME, default_args=_arguments(base_folder, tmp_path))
    figures = trainer.train()
    assert figures["recall@1"] == 1.0
    output = tmp_path / "work" / "output"
    pipe = pipeline("sentence-embedding", model=str(output), device="cpu")
    expected = EntityEncoder.from_pretrained(output, device="cpu").encode_query(["大鹏"])
    np.testing.assert_array_equal(pipe("大鹏")["text_embedding"], expected)
    assert trainer.evaluate()["recall@1"] == 1.0


def test_trainer_trains_in_stages_and_splits_the_evaluation(base_folder: Path, tmp_path: Path) -> None:
    def settings(cfg: Any) -> Any:
        cfg = _faster(cfg)
        cfg.train.stages = 2
        cfg.train.stage_two.max_epochs = 2
        cfg.train.mining.num_negatives = 3
        return cfg

    arguments = _arguments(base_folder, tmp_path, cfg_modify_fn=settings, train_dataset=MENTIONS[:4])
    trainer = build_trainer(NAME, default_args=arguments)
    figures = trainer.train(tensorboard=str(tmp_path / "board"))
    assert [len(stage["losses"]) for stage in figures["stages"]] == [20, 2]
    assert figures["stages"][1]["mining"]["mentions_by_negatives"] == {"3": 4}
    evaluated = trainer.evaluate()
    assert (evaluated["seen_mentions"], evaluated["unseen_mentions"]) == (4, 2)
    assert evaluated["ambiguous_mentions"] == 4
    assert any((tmp_path / "board").iterdir())


def test_trainer_reads_files(base_folder: Path, tmp_path: Path, kb_file: Path, mentions_file: Path) -> None:
    arguments = _arguments(base_folder, tmp_path, max_epochs=1, knowledge_base=str(kb_file))
    arguments |= {"train_dataset": str(mentions_file), "eval_dataset": str(mentions_file)}
    assert build_trainer(NAME, default_args=arguments).train()["mentions"] == 6


def test_trainer_reads_ms_datasets(base_folder: Path, tmp_path: Path) -> None:
    from datasets import Dataset

    records = [{"text": m.text, "start": m.start, "end": m.end, "entity_id": m.entity_ids[0]} for m in MENTIONS]
    dataset = MsDataset(Dataset.from_list(records))
    arguments = _arguments(base_folder, tmp_path, max_epochs=1, train_dataset=dataset, eval_dataset=dataset)
    assert build_trainer(NAME, default_args=arguments).train()["mentions"] == 6


def test_trainer_takes_the_defaults_of_the_card(base_folder: Path, tmp_path: Path) -> None:
    trainer = build_trainer(NAME, default_args=_arguments(base_folder, tmp_path, cfg_modify_fn=None, max_epochs=None))
    assert (trainer.settings.max_epochs, trainer.settings.batch_size, trainer.settings.learning_rate) == (3, 32, 2e-5)


def test_knowledge_base_can_be_read_only_once(base_folder: Path, tmp_path: Path) -> None:
    arguments = _arguments(base_folder, tmp_path, max_epochs=1, knowledge_base=iter(ENTITIES))
    assert build_trainer(NAME, default_args=arguments).train()["entities"] == 6


@pytest.mark.parametrize(
    ("change", "message"),
    [({"dataset": []}, "unknown argument 'dataset'"), ({"max_epochs": 0}, "max_epochs=0"), ({"seed": -1}, "seed=-1")],
)
def test_bad_argument_raises(base_folder: Path, tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build_trainer(NAME, default_args=_arguments(base_folder, tmp_path, **change))


def test_unknown_argument_of_train_is_refused(base_folder: Path, tmp_path: Path) -> None:
    trainer = build_trainer(NAME, default_args=_arguments(base_folder, tmp_path))
    with pytest.raises(InputError, match=r"unknown argument 'checkpoint_path' of train; .* resume=True"):
        trainer.train(checkpoint_path="x")


def test_training_without_data_raises(base_folder: Path, tmp_path: Path) -> None:
    trainer = build_trainer(NAME, default_args=_arguments(base_folder, tmp_path, train_dataset=None))
    with pytest.raises(InputError, match="no train_dataset"):
        trainer.train()
