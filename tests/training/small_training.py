"""A training of a second, for the tests of this folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from conftest import ENTITIES, MENTIONS, write_entities, write_mentions
from safetensors.torch import load_file

from modelscope_plugin.config.configuration import default_configuration
from modelscope_plugin.config.training_settings import read_training_settings
from modelscope_plugin.data import Mention
from modelscope_plugin.training.record import TrainingResult
from modelscope_plugin.training.training import train


def train_small(model: Path, output: Path, mentions: list[Mention] = MENTIONS, **changes: Any) -> TrainingResult:
    """Train on the entities and mentions of the tests; ``changes`` are settings or options of `train`."""
    names = ("eval_mentions", "ks", "resume", "overwrite", "tensorboard")
    options = {name: changes.pop(name) for name in names if name in changes}
    changes = {
        "max_epochs": 20,
        "batch_size": 6,
        "learning_rate": 2e-3,
        "emb_pooler_type": "avg",
        "temperature": 8.0,
    } | changes
    settings = read_training_settings(default_configuration(), **changes)
    return train(model, lambda: ENTITIES, mentions, output, *settings, device="cpu", **options)


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    """The weights of a model folder."""
    return load_file(folder / "model.safetensors")


def command_options(base: Path, folder: Path, **changes: object) -> list[str]:
    """Options of ``train`` for the same training, four times each mention, with the files it reads in ``folder``."""
    knowledge_base, mentions = write_entities(folder / "kb.jsonl"), write_mentions(folder / "m.jsonl", MENTIONS * 4)
    options = {
        "--model": base, "--kb": knowledge_base, "--train": mentions, "--pooling": "avg", "--temperature": 8,
        "--learning-rate": 2e-3, "--device": "cpu", **{f"--{key.replace('_', '-')}": changes[key] for key in changes},
    }  # fmt: skip
    return [str(item) for pair in options.items() for item in pair]
