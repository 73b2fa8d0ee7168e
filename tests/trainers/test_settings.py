from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from modelscope_plugin.configuration import default_configuration, merged
from modelscope_plugin.errors import InputError
from modelscope_plugin.trainers.settings import TrainingSettings, evaluation_ks, training_configuration


def test_defaults_are_those_of_the_model_card() -> None:
    settings = TrainingSettings.from_configuration(default_configuration())
    assert (settings.max_epochs, settings.max_length, settings.batch_size, settings.learning_rate) == (3, 128, 32, 2e-5)
    assert (settings.emb_pooler_type, settings.towers) == ("cls", 1)
    assert evaluation_ks(default_configuration()) == [4, 16, 128]


def test_changes_go_before_the_configuration_and_none_changes_nothing() -> None:
    settings = TrainingSettings.from_configuration(default_configuration(), max_epochs=7, seed=None)
    assert (settings.max_epochs, settings.seed) == (7, 42)


def test_to_sections_round_trip() -> None:
    settings = TrainingSettings.from_configuration(default_configuration(), temperature=0.5, batch_size=64)
    again = TrainingSettings.from_configuration(merged(default_configuration(), settings.to_sections()))
    assert again == settings


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"max_epochs": 0}, "train.max_epochs=0"),
        ({"batch_size": 1}, "train.dataloader.batch_size_per_gpu=1"),
        ({"batch_size": 2.5}, "train.dataloader.batch_size_per_gpu=2.5"),
        ({"learning_rate": 0.0}, "learning_rate=0.0"),
        ({"learning_rate": "fast"}, "train.optimizer.lr='fast'"),
        ({"temperature": 0}, "temperature=0"),
        ({"warmup_ratio": 1.5}, "warmup_ratio=1.5"),
        ({"towers": 3}, "model.towers=3"),
        ({"lr_scheduler_type": "steep"}, "train.lr_scheduler.type='steep'"),
        ({"emb_pooler_type": "max"}, "emb_pooler_type 'max'"),
        ({"epochs": 3}, "unknown training setting 'epochs'"),
    ],
)
def test_bad_value_names_its_place(change: dict[str, Any], place: str) -> None:
    with pytest.raises(InputError, match=place):
        TrainingSettings.from_configuration(default_configuration(), **change)


def test_other_optimizer_raises() -> None:
    configuration = merged(default_configuration(), {"train": {"optimizer": {"type": "SGD"}}})
    with pytest.raises(InputError, match=r"train\.optimizer\.type='SGD'"):
        TrainingSettings.from_configuration(configuration)


def test_unused_keys_are_named(caplog: pytest.LogCaptureFixture) -> None:
    configuration = merged(default_configuration(), {"train": {"hooks": [{"type": "X"}]}})
    with caplog.at_level(logging.WARNING):
        TrainingSettings.from_configuration(configuration)
    assert "not used here: train.hooks" in caplog.text


def test_model_folder_goes_before_the_defaults(tmp_path: Path) -> None:
    own = {"model": {"type": "bert", "emb_pooler_type": "avg"}, "train": {"max_epochs": 9}}
    (tmp_path / "configuration.json").write_text(json.dumps(own))
    settings = TrainingSettings.from_configuration(training_configuration(tmp_path))
    assert (settings.emb_pooler_type, settings.max_epochs, settings.batch_size) == ("avg", 9, 32)
