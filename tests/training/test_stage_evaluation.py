from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conftest import ENTITIES, MENTIONS
from small_training import train_small

from modelscope_plugin.config.configuration import default_configuration
from modelscope_plugin.config.training_settings import read_training_settings
from modelscope_plugin.encoding import EntityEncoder
from modelscope_plugin.errors import TrainingError
from modelscope_plugin.retrieval import EntityIndex
from modelscope_plugin.training import stage_evaluation
from modelscope_plugin.training.training import train


def test_measurements_on_the_way_are_capped(base_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    index_of = stage_evaluation.index_entities

    def counted(encoder: EntityEncoder, entities: Any, **options: Any) -> EntityIndex:
        index = index_of(encoder, entities, **options)
        sizes.append(len(index))
        return index

    monkeypatch.setattr(stage_evaluation, "index_entities", counted)
    train_small(
        base_folder, tmp_path / "out", eval_mentions=MENTIONS[:1], ks=[1], eval_steps=1, eval_max_entities=2,
        max_epochs=2,
    )  # fmt: skip
    assert sizes[-1] == 6
    assert all(1 <= size < 6 for size in sizes[:-1])
    assert len(sizes) == 3


def test_knowledge_base_that_changes_during_training_is_said(base_folder: Path, tmp_path: Path) -> None:
    entities = iter([*ENTITIES])
    settings = read_training_settings(default_configuration(), max_epochs=1)
    with pytest.raises(TrainingError, match="had 6 entities when training began and has 0 now"):
        train(
            base_folder, lambda: entities, MENTIONS, tmp_path / "out", *settings, eval_mentions=MENTIONS, device="cpu"
        )
