"""A training of a re-ranker that takes a second, for the tests of this folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from conftest import ENTITIES, MENTIONS, write_entities, write_mentions
from safetensors.torch import load_file

from modelscope_plugin.config.configuration import default_configuration
from modelscope_plugin.config.reranking_settings import RerankingSettings
from modelscope_plugin.data import Mention
from modelscope_plugin.training.record import TrainingResult
from modelscope_plugin.training.reranking.training import train_reranker

KINDS = ("late-interaction", "cross-encoder")


def rerank_settings(**changes: Any) -> RerankingSettings:
    """Settings for training a tiny model from random weights."""
    changes = {"max_epochs": 12, "batch_size": 3, "learning_rate": 2e-3} | changes
    return RerankingSettings.from_configuration(default_configuration(), **changes)


def train_small_reranker(
    model: Path, output: Path, mentions: list[Mention] = MENTIONS, **changes: Any
) -> TrainingResult:
    """Train on the entities and mentions of the tests; ``changes`` are settings or options of `train_reranker`."""
    names = ("eval_mentions", "ks", "resume", "overwrite", "tensorboard", "index", "base")
    options = {name: changes.pop(name) for name in names if name in changes}
    if "index" not in options:
        options["entities"] = lambda: ENTITIES
    return train_reranker(model, mentions, output, rerank_settings(**changes), device="cpu", **options)


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    """The weights of a model folder."""
    return load_file(folder / "model.safetensors")


def command_options(base: Path, folder: Path, **changes: object) -> list[str]:
    """Options of ``train-reranker``, four times each mention, with the files it reads in ``folder``."""
    knowledge_base, mentions = write_entities(folder / "kb.jsonl"), write_mentions(folder / "m.jsonl", MENTIONS * 4)
    options = {
        "--model": base, "--kb": knowledge_base, "--train": mentions, "--learning-rate": 2e-3, "--device": "cpu",
        **{f"--{key.replace('_', '-')}": changes[key] for key in changes},
    }  # fmt: skip
    return [str(item) for pair in options.items() for item in pair]
