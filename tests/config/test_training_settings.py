from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from modelscope_plugin.config.configuration import default_configuration, merge_configurations
from modelscope_plugin.config.evaluation_settings import find_ks
from modelscope_plugin.config.settings import NONE
from modelscope_plugin.config.training_settings import (
    MiningSettings,
    TrainingSettings,
    read_training_configuration,
    read_training_settings,
)
from modelscope_plugin.errors import InputError, ModelFolderError


def test_defaults_are_those_of_the_model_card() -> None:
    settings = TrainingSettings.from_configuration(default_configuration())
    assert (settings.max_epochs, settings.max_length, settings.batch_size, settings.learning_rate) == (3, 128, 32, 2e-5)
    assert (settings.emb_pooler_type, settings.towers) == ("cls", 1)
    assert find_ks(default_configuration()) == [1, 4, 16, 64, 128]


def test_changes_go_before_the_configuration_and_none_changes_nothing() -> None:
    settings = TrainingSettings.from_configuration(default_configuration(), max_epochs=7, seed=None)
    assert (settings.max_epochs, settings.seed) == (7, 42)


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"num_negatives": 0}, "num_negatives=0"),
        ({"range_min": -1}, "range_min=-1"),
        ({"range_min": 100}, "train.mining.range_max=100 must be more than train.mining.range_min=100"),
        ({"sampling_strategy": "best"}, "unknown sampling_strategy 'best'"),
        ({"absolute_margin": float("nan")}, "absolute_margin=nan"),
    ],
)
def test_bad_mining_value_names_its_place(change: dict[str, Any], place: str) -> None:
    with pytest.raises(InputError, match=place):
        MiningSettings.from_configuration(default_configuration(), **change)


def test_later_stages_have_settings_of_their_own() -> None:
    settings = TrainingSettings.from_configuration(
        default_configuration(), max_epochs=8, stage_two_max_epochs=2, stage_two_learning_rate=1e-5
    )
    assert [settings.epochs_of(stage) for stage in (1, 2, 3)] == [8, 2, 2]
    assert [settings.learning_rate_of(stage) for stage in (1, 2)] == [2e-5, 1e-5]
    same = TrainingSettings.from_configuration(default_configuration())
    assert (same.epochs_of(2), same.learning_rate_of(2)) == (3, 2e-5)


def test_one_seed_is_that_of_training_and_mining() -> None:
    training, mining = read_training_settings(default_configuration(), seed=7, num_negatives=3)
    assert (training.seed, mining.seed, mining.num_negatives) == (7, 7, 3)


def test_unknown_setting_of_either_kind_is_refused() -> None:
    with pytest.raises(InputError, match="unknown setting 'negatives'"):
        read_training_settings(default_configuration(), negatives=3)


def test_to_sections_round_trip() -> None:
    settings = TrainingSettings.from_configuration(default_configuration(), temperature=0.5, batch_size=64)
    again = TrainingSettings.from_configuration(merge_configurations(default_configuration(), settings.to_sections()))
    assert again == settings


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"max_epochs": 0}, "max_epochs=0"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"batch_size": 2.5}, "batch_size=2.5"),
        ({"learning_rate": 0.0}, "learning_rate=0.0 must be a finite number above 0"),
        ({"learning_rate": "fast"}, "learning_rate='fast'"),
        ({"temperature": 0}, "temperature=0 must be a finite number above 0"),
        ({"warmup_ratio": 1.5}, "warmup_ratio=1.5"),
        ({"towers": 3}, "towers=3 must be an integer between 1 and 2"),
        ({"seed": 2**31}, "seed=2147483648 must be an integer between 0 and 2147483647"),
        ({"stages": 0}, "stages=0"),
        ({"stage_two_learning_rate": -1.0}, "stage_two_learning_rate=-1.0"),
        ({"mini_batch_size": -1}, "mini_batch_size=-1"),
        ({"gradient_accumulation_steps": 0}, "gradient_accumulation_steps=0"),
        ({"stages": 2, "hard_negatives": 0}, "train.hard_negatives=0 leaves nothing to train stage two with"),
        ({"dropout": 1.0}, "dropout=1.0 must be a finite number of at least 0 and below 1"),
        ({"symmetric": "yes"}, "symmetric='yes' must be true or false"),
        ({"mixed_precision": "int8"}, "unknown mixed_precision 'int8'"),
        ({"early_stopping_patience": 2}, "train.early_stopping_patience needs train.eval_steps"),
        ({"eval_steps": 5, "save_steps": 5}, "give train.eval_steps or train.save_steps"),
        ({"lr_scheduler_type": "steep"}, "unknown lr_scheduler_type 'steep'"),
        ({"emb_pooler_type": "max"}, "unknown emb_pooler_type 'max'"),
        ({"epochs": 3}, "unknown setting 'epochs'"),
    ],
)
def test_bad_value_names_its_place(change: dict[str, Any], place: str) -> None:
    with pytest.raises(InputError, match=place):
        TrainingSettings.from_configuration(default_configuration(), **change)


def test_other_optimizer_raises() -> None:
    configuration = merge_configurations(default_configuration(), {"train": {"optimizer": {"type": "SGD"}}})
    with pytest.raises(InputError, match=r"unknown train\.optimizer\.type 'SGD'; choose from AdamW"):
        read_training_settings(configuration)


def test_unused_keys_are_named(caplog: pytest.LogCaptureFixture) -> None:
    configuration = merge_configurations(default_configuration(), {"train": {"hooks": [{"type": "X"}]}})
    with caplog.at_level(logging.WARNING):
        read_training_settings(configuration)
    assert "not used here: train.hooks" in caplog.text


def test_model_folder_goes_before_the_defaults(tmp_path: Path) -> None:
    own = {"model": {"type": "entity-embedding", "emb_pooler_type": "avg"}, "train": {"max_epochs": 9}}
    (tmp_path / "configuration.json").write_text(json.dumps(own))
    settings = TrainingSettings.from_configuration(read_training_configuration(tmp_path))
    assert (settings.emb_pooler_type, settings.max_epochs, settings.batch_size) == ("avg", 9, 32)


@pytest.mark.parametrize("train", [None, {"max_epochs": 9, "optimizer": {"type": "Adam"}, "hooks": []}])
def test_training_of_other_trainers_is_not_taken_over(
    tmp_path: Path, train: dict[str, Any] | None, caplog: pytest.LogCaptureFixture
) -> None:
    own = {"model": {"type": "bert", "emb_pooler_type": "avg"}, "preprocessor": None, "train": train}
    (tmp_path / "configuration.json").write_text(json.dumps(own))
    settings, _ = read_training_settings(read_training_configuration(tmp_path))
    assert (settings.emb_pooler_type, settings.max_epochs, settings.max_length) == ("avg", 3, 128)
    assert caplog.text == ""


def test_section_that_is_no_object_is_said(tmp_path: Path) -> None:
    (tmp_path / "configuration.json").write_text('{"model": {"type": "entity-embedding"}, "train": "fast"}')
    with pytest.raises(ModelFolderError, match=r"configuration\.json: train must be a JSON object, not 'fast'"):
        read_training_configuration(tmp_path)


def test_null_section_changes_nothing() -> None:
    configuration = merge_configurations(
        default_configuration(), {"train": {"optimizer": {"options": {"grad_clip": None}}}}
    )
    assert read_training_settings(configuration)[0].max_grad_norm == 1.0


def test_none_sets_to_null_what_can_be_null() -> None:
    configuration = merge_configurations(
        default_configuration(), {"train": {"dropout": 0.1, "mining": {"absolute_margin": 0.2}}}
    )
    settings, mining = read_training_settings(configuration, dropout=NONE, absolute_margin=NONE)
    assert (settings.dropout, mining.absolute_margin) == (None, None)
    settings, mining = read_training_settings(configuration, dropout=None, absolute_margin=None)
    assert (settings.dropout, mining.absolute_margin) == (0.1, 0.2)
    with pytest.raises(InputError, match=r"seed='none' must be an integer"):
        read_training_settings(configuration, seed=NONE)
