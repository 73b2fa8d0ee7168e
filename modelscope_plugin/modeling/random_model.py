"""A BERT with random weights and a vocabulary of characters, to train from scratch."""

from __future__ import annotations

import math
import string
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import BertConfig, BertModel

from modelscope_plugin.checks import check_choice, check_integer
from modelscope_plugin.config.configuration import CONFIGURATION_FILE, default_configuration, merge_configurations
from modelscope_plugin.data.entity_text import entity_text
from modelscope_plugin.data.markers import MENTION_END, MENTION_START
from modelscope_plugin.data.records import Entity, Mention
from modelscope_plugin.errors import InputError
from modelscope_plugin.modeling.checkpoint_files import quiet_transformers
from modelscope_plugin.storage.atomic_write import replace_folder, update_folder, write_json
from modelscope_plugin.types import ModelSize

_SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", MENTION_START, MENTION_END]


class Size(NamedTuple):
    """The shape of a model.

    Attributes:
        layers: Number of transformer layers.
        hidden_size: Size of the vectors.
        learning_rate: The peak learning rate at which it learns from random weights.
    """

    layers: int
    hidden_size: int
    learning_rate: float


SIZES: dict[ModelSize, Size] = {"tiny": Size(2, 128, 1e-3), "small": Size(4, 256, 5e-4), "base": Size(12, 768, 1e-4)}
"""The sizes of `write_base_model`; ``base`` is that of BERT-base."""

# What makes a model learn from random weights, unlike the defaults, which are for pretrained ones: [CLS] vectors stay
# alike for long, averages do not; dot products of unit vectors need a low temperature.
_CONFIGURATION: dict[str, Any] = {
    "model": {"emb_pooler_type": "avg", "normalize": True, "random_weights": True},
    "train": {
        "temperature": 0.05,
        "random_negatives": 64,
        "kb_mentions": 2,
    },
}
_BATCH_SIZE = 32
# Steps that a model needs to learn from random weights, and what bounds the epochs that they are spread over.
_STEPS, _FEWEST_EPOCHS, _MOST_EPOCHS = 150, 8, 100


def write_base_model(
    folder: Path,
    entities: Iterable[Entity],
    mentions: Iterable[Mention] = (),
    *,
    size: ModelSize = "tiny",
    max_length: int = 128,
    seed: int = 42,
) -> int:
    """Write a model folder with random weights and with settings of training that make it learn from them.

    Args:
        folder: The folder to write, whole or not at all; it must be new or empty.
        entities: The knowledge base. The characters of its texts and of those of the mentions make the vocabulary,
            along with ASCII; others will be unknown.
        mentions: What the model is to be trained on; few mentions get more epochs.
        size: One of `SIZES`.
        max_length: Tokens of a window.
        seed: Seed of the weights.

    Returns:
        Number of tokens in the vocabulary.

    Raises:
        InputError: If the folder holds anything, the size is unknown, or the window is shorter than 16 or longer than
            512.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise InputError(f"{folder} is there already; name a new or empty folder")
    check_choice("size", size, SIZES)
    shape = SIZES[size]
    max_length = check_integer("max_length", max_length, least=16, most=512)
    expected = 0

    def read_texts() -> Iterator[str]:
        nonlocal expected
        yield string.printable
        for entity in entities:
            expected += _CONFIGURATION["train"]["kb_mentions"] * len(entity.names)
            yield entity_text(entity)
        for mention in mentions:
            expected += 1
            yield mention.text

    vocabulary = _characters(read_texts())
    batch_size = min(_BATCH_SIZE, max(expected, 1))
    epochs = min(max(math.ceil(_STEPS * batch_size / max(expected, 1)), _FEWEST_EPOCHS), _MOST_EPOCHS)
    settings: dict[str, Any] = {
        "preprocessor": {"max_length": max_length},
        "train": {
            "seed": seed,
            "max_epochs": epochs,
            "dataloader": {"batch_size_per_gpu": batch_size},
            "optimizer": {"lr": shape.learning_rate},
        },
    }
    configuration = merge_configurations(merge_configurations(default_configuration(), _CONFIGURATION), settings)
    with replace_folder(folder) as draft:
        write_random_bert(
            draft,
            vocabulary=vocabulary,
            hidden_size=shape.hidden_size,
            layers=shape.layers,
            max_length=512,
            seed=seed,
        )
        write_json(draft / CONFIGURATION_FILE, configuration)
    return len(vocabulary)


def write_random_bert(
    folder: Path,
    texts: Iterable[str] | None = None,
    *,
    vocabulary: Iterable[str] | None = None,
    hidden_size: int = 128,
    layers: int = 2,
    max_length: int = 128,
    seed: int = 42,
) -> None:
    """Write a BERT checkpoint with random weights.

    Args:
        folder: Folder to write into.
        texts: Texts whose characters make the vocabulary.
        vocabulary: Tokens of the vocabulary, as in a ``vocab.txt``, instead of ``texts``.
        hidden_size: Size of the vectors, a multiple of 64.
        layers: Number of transformer layers.
        max_length: Number of positions.
        seed: Seed of the weights.
    """
    tokens = list(vocabulary) if vocabulary is not None else _characters(texts or ())
    config = BertConfig(
        vocab_size=len(tokens),
        hidden_size=hidden_size,
        num_hidden_layers=layers,
        num_attention_heads=hidden_size // 64,
        intermediate_size=4 * hidden_size,
        max_position_embeddings=max_length,
    )
    with update_folder(folder) as draft, torch.random.fork_rng(devices=[]), quiet_transformers():
        (draft / "vocab.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8")
        torch.manual_seed(seed)
        BertModel(config, add_pooling_layer=False).save_pretrained(draft)


def _characters(texts: Iterable[str]) -> list[str]:
    """The characters of texts as word pieces: at the beginning of a word and, for spaced scripts, inside one."""
    characters = sorted({character for text in texts for character in text.lower() if not character.isspace()})
    inside = [f"##{character}" for character in characters if character.isalnum() and character < "\u2e80"]
    return _SPECIAL_TOKENS + characters + inside
