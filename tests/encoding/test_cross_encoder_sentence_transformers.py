"""Folders of sentence-transformers' CrossEncoder and of this package, each opened by the other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ENTITIES, MENTIONS, write_cross_encoder
from sentence_transformers import CrossEncoder as OtherCrossEncoder
from tokenizers import ByteLevelBPETokenizer
from transformers import (
    RobertaConfig,
    RobertaForSequenceClassification,
    RobertaTokenizerFast,
)

from modelscope_plugin.data import entity_text, mark_mention
from modelscope_plugin.encoding.cross_encoder import CrossEncoder
from modelscope_plugin.modeling.cross_encoder import CrossEncoderModel
from modelscope_plugin.modeling.pair_tokenization import PairTokenizer
from modelscope_plugin.modeling.tokenization import EntityTokenizer

PAIRS = [(mark_mention(mention), entity_text(entity)) for mention in MENTIONS for entity in ENTITIES]


def test_sentence_transformers_gives_the_same_scores(cross_encoder_folder: Path) -> None:
    ours = CrossEncoder.from_pretrained(cross_encoder_folder, device="cpu")
    theirs = OtherCrossEncoder(str(cross_encoder_folder), device="cpu")
    np.testing.assert_allclose(theirs.predict(PAIRS), ours.predict(PAIRS), atol=1e-5)
    assert isinstance(theirs.activation_fn, torch.nn.Identity)


@pytest.mark.parametrize("max_length", [24, 25])
def test_long_entity_texts_are_cut_alike(base_folder: Path, tmp_path: Path, max_length: int) -> None:
    folder = write_cross_encoder(base_folder, tmp_path, max_length)
    pairs = [(f"[ENT_S] {'苹果大鹏长江演员神鸟手机'[:size]} [ENT_E]", "苹果；类型" * 20) for size in range(1, 13)]
    ours = CrossEncoder.from_pretrained(folder, device="cpu").predict(pairs)
    theirs = OtherCrossEncoder(str(folder), device="cpu").predict(pairs)
    fits = [size + 2 <= (max_length - 3) // 2 for size in range(1, 13)]
    assert True in fits
    assert False in fits
    np.testing.assert_allclose(theirs[fits], ours[fits], atol=1e-5)


def test_long_contexts_are_cut_around_the_mention_by_this_package_alone(base_folder: Path, tmp_path: Path) -> None:
    folder = write_cross_encoder(base_folder, tmp_path, 24)
    pairs = [("长江" * 30 + f"[ENT_S] {name} [ENT_E]", "苹果；类型" * 20) for name in ("大鹏", "苹果")]
    ours = CrossEncoder.from_pretrained(folder, device="cpu").predict(pairs)
    theirs = OtherCrossEncoder(str(folder), device="cpu").predict(pairs)
    assert theirs[0] == pytest.approx(theirs[1], abs=1e-6)
    assert abs(ours[0] - ours[1]) > 1e-4


def test_folder_of_sentence_transformers_opens_with_the_logits(base_folder: Path, tmp_path: Path) -> None:
    theirs = OtherCrossEncoder(str(base_folder), num_labels=1, device="cpu", max_length=30)
    theirs.save_pretrained(str(tmp_path / "theirs"))
    ours = CrossEncoder.from_pretrained(tmp_path / "theirs", device="cpu")
    assert ours.max_length == 30
    pairs = [(mention.text, entity_text(entity)) for mention in MENTIONS for entity in ENTITIES]
    expected = theirs.predict(pairs, activation_fn=torch.nn.Identity())
    np.testing.assert_allclose(ours.predict(pairs), expected, atol=1e-5)
    ours.save_pretrained(tmp_path / "ours")
    again = OtherCrossEncoder(str(tmp_path / "ours"), device="cpu")
    np.testing.assert_allclose(again.predict(pairs), expected, atol=1e-5)


def test_roberta_gives_the_same_scores(tmp_path: Path) -> None:
    texts = [text for pair in PAIRS for text in pair]
    vocabulary = ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    vocabulary.train_from_iterator(texts, vocab_size=400, special_tokens=special)
    vocabulary.save_model(str(tmp_path))
    raw = RobertaTokenizerFast.from_pretrained(tmp_path)
    config = RobertaConfig(
        vocab_size=len(raw),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=130,
        type_vocab_size=1,
        num_labels=1,
    )
    torch.manual_seed(3)
    model = CrossEncoderModel(RobertaForSequenceClassification(config)).eval()
    ours = CrossEncoder(model, PairTokenizer(EntityTokenizer(raw, 60)))
    ours.save_pretrained(tmp_path / "saved")
    pairs = [(mention.text, entity_text(entity)) for mention in MENTIONS for entity in ENTITIES]
    theirs = OtherCrossEncoder(str(tmp_path / "saved"), device="cpu").predict(pairs)
    again = CrossEncoder.from_pretrained(tmp_path / "saved", device="cpu")
    np.testing.assert_allclose(again.predict(pairs), theirs, atol=1e-5)
    assert again.max_length == 60
