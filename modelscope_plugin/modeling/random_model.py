"""A small BERT with random weights and a vocabulary of characters, to train from scratch."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from transformers import BertConfig, BertModel

from modelscope_plugin.data.markers import MENTION_END, MENTION_START
from modelscope_plugin.modeling.checkpoint_files import quiet_transformers
from modelscope_plugin.storage.atomic_write import update_folder

_SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", MENTION_START, MENTION_END]


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
