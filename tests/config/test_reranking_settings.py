from __future__ import annotations

import logging

import pytest

from modelscope_plugin.config.configuration import default_configuration
from modelscope_plugin.config.reranking_settings import RerankingSettings
from modelscope_plugin.config.training_settings import read_training_settings
from modelscope_plugin.errors import InputError


def test_optimiser_is_shared_and_the_rest_has_a_section_of_its_own() -> None:
    configuration = default_configuration()
    configuration["train"] |= {"max_epochs": 77, "eval_steps": 5, "kb_mentions": 2, "seed": 9}
    configuration["train"]["optimizer"] |= {"lr": 0.5, "weight_decay": 0.25}
    configuration["train"]["reranking"]["max_epochs"] = 5
    settings = RerankingSettings.from_configuration(configuration)
    assert (settings.max_epochs, settings.eval_steps, settings.kb_mentions) == (5, 0, 0)
    assert (settings.learning_rate, settings.weight_decay, settings.seed) == (2e-5, 0.25, 9)


def test_binary_loss_needs_a_cross_encoder() -> None:
    assert RerankingSettings(type="cross-encoder", loss="binary").loss == "binary"
    with pytest.raises(InputError, match=r"train\.reranking\.loss=binary needs .*cross-encoder"):
        RerankingSettings(type="late-interaction", loss="binary")


def test_section_is_no_unused_key_of_the_dual_encoder(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        read_training_settings(default_configuration())
    assert not caplog.records


def test_checkpoints_and_measurements_do_not_go_together() -> None:
    with pytest.raises(InputError, match=r"give train\.reranking\.eval_steps or train\.reranking\.save_steps"):
        RerankingSettings(eval_steps=5, save_steps=5)
