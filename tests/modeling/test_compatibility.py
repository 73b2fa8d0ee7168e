"""Checkpoints of many architectures, whole and with parts that do not belong together."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import MENTIONS
from transformers import AutoConfig, AutoModel

from modelscope_plugin.encoding import EntityEncoder
from modelscope_plugin.errors import InputError, ModelFolderError
from modelscope_plugin.modeling.checkpoint_files import load_tokenizer
from modelscope_plugin.modeling.dual_encoder import DualEncoder
from modelscope_plugin.modeling.model_folder import write_model_folder
from modelscope_plugin.modeling.random_model import write_random_bert

POSITIONS = 40
# Architectures of published encoders; not all are in every version of transformers.
ENCODERS = [
    "albert",
    "bert",
    "big_bird",
    "camembert",
    "convbert",
    "data2vec-text",
    "deberta",
    "deberta-v2",
    "distilbert",
    "electra",
    "ernie",
    "eurobert",
    "longformer",
    "luke",
    "megatron-bert",
    "mobilebert",
    "modernbert",
    "mpnet",
    "nomic_bert",
    "rembert",
    "roberta",
    "roformer",
    "xlm-roberta",
]
DECODERS = ["gpt2", "qwen2", "qwen3", "llama"]


def write_checkpoint(folder: Path, vocabulary: Path, model_type: str, **changes: Any) -> Path:
    """Write a tiny random checkpoint of an architecture, with a ``vocab.txt`` alone."""
    size = len(vocabulary.read_text(encoding="utf-8").split("\n")) - 1
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    special = dict.fromkeys(("eos_token_id", "bos_token_id", "cls_token_id", "sep_token_id", "mask_token_id"), 2)
    offset = 2 if model_type in ("camembert", "data2vec-text", "longformer", "luke", "mpnet", "roberta") else 0
    offset = 2 if model_type == "xlm-roberta" else offset
    pad = 1 if offset else 0
    extra = {"longformer": {"attention_window": 4}, "big_bird": {"attention_type": "original_full"}}
    values = sizes | special | {"vocab_size": size, "pad_token_id": pad, "max_position_embeddings": POSITIONS + offset}
    values |= extra.get(model_type, {})
    if model_type in ("qwen2", "qwen3", "llama", "eurobert"):
        values["num_key_value_heads"] = 2
    try:
        config = AutoConfig.for_model(model_type, **values | changes)
    except ValueError:
        pytest.skip(f"this version of transformers has no {model_type}")
    torch.manual_seed(3)
    model = AutoModel.from_config(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:  # random models hardly depend on their input otherwise
                parameter.mul_(10 if "embed" not in name else 1)
    model.save_pretrained(folder)
    shutil.copy(vocabulary, folder / "vocab.txt")
    return folder


@pytest.mark.parametrize("model_type", ENCODERS)
def test_vocab_txt_alone_is_read_whatever_the_architecture(base_folder: Path, tmp_path: Path, model_type: str) -> None:
    folder = write_checkpoint(tmp_path, base_folder / "vocab.txt", model_type)
    if model_type == "roformer":  # its own tokenizer needs a library that is not installed
        (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
    expected = load_tokenizer(base_folder)("今天苹果发布了新手机")["input_ids"]
    assert load_tokenizer(folder)("今天苹果发布了新手机")["input_ids"] == expected
    encoder = EntityEncoder.from_pretrained(folder, max_length=32)
    vectors = encoder.encode_query(MENTIONS)
    assert np.isfinite(vectors).all()
    assert len(np.unique(vectors.round(4), axis=0)) == len(MENTIONS)


@pytest.mark.parametrize("model_type", ["albert", "deberta-v2", "roberta"])
def test_tokenizer_read_from_vocab_txt_alone_can_be_saved(base_folder: Path, tmp_path: Path, model_type: str) -> None:
    folder = write_checkpoint(tmp_path / "old", base_folder / "vocab.txt", model_type)
    encoder = EntityEncoder.from_pretrained(folder, max_length=32)
    write_model_folder(tmp_path / "new", encoder.model, encoder.tokenizer)
    again = EntityEncoder.from_pretrained(tmp_path / "new")
    np.testing.assert_array_equal(again.encode_query(MENTIONS), encoder.encode_query(MENTIONS))
    assert again.fingerprint == encoder.fingerprint


@pytest.mark.parametrize("model_type", ENCODERS)
def test_max_positions_is_the_longest_text_that_can_be_encoded(
    base_folder: Path, tmp_path: Path, model_type: str
) -> None:
    write_checkpoint(tmp_path, base_folder / "vocab.txt", model_type)
    model = DualEncoder.from_pretrained(tmp_path)
    assert model.max_positions == POSITIONS
    ids = torch.arange(POSITIONS)[None] % 20 + 7
    with torch.inference_mode():
        assert torch.isfinite(model.embed("mention", ids, torch.ones_like(ids))).all()


@pytest.mark.parametrize("model_type", DECODERS)
def test_decoder_with_cls_pooling_is_refused_with_the_pooling_that_works(
    base_folder: Path, tmp_path: Path, model_type: str
) -> None:
    folder = write_checkpoint(tmp_path, base_folder / "vocab.txt", model_type)
    with pytest.raises(ModelFolderError, match="set emb_pooler_type to 'avg'"):
        EntityEncoder.from_pretrained(folder, max_length=32)
    vectors = EntityEncoder.from_pretrained(folder, max_length=32, emb_pooler_type="avg").encode_query(MENTIONS)
    assert len(np.unique(vectors.round(4), axis=0)) == len(MENTIONS)


@pytest.mark.parametrize("text", ["", " ", "\n"])
def test_empty_text_has_a_vector_without_a_cls_token(base_folder: Path, tmp_path: Path, text: str) -> None:
    folder = write_checkpoint(tmp_path, base_folder / "vocab.txt", "qwen2")
    encoder = EntityEncoder.from_pretrained(folder, max_length=32, emb_pooler_type="avg")
    encoder.tokenizer._head = encoder.tokenizer._tail = []
    vectors = encoder.encode_document([text, "大鹏"])
    assert np.isfinite(vectors).all()
    np.testing.assert_allclose(vectors[0], encoder.encode_document([text])[0], atol=1e-5)


@pytest.mark.parametrize("model_type", ["t5", "bart", "clip", "vit"])
def test_what_is_no_text_encoder_is_refused(base_folder: Path, tmp_path: Path, model_type: str) -> None:
    sizes = {"d_model": 32, "num_layers": 1, "num_heads": 2, "d_ff": 32, "d_kv": 16} if model_type == "t5" else {}
    config = AutoConfig.for_model(model_type, vocab_size=200, **sizes)
    if model_type in ("bart", "clip", "vit"):
        config.save_pretrained(tmp_path)
        (tmp_path / "pytorch_model.bin").touch()
    else:
        AutoModel.from_config(config).save_pretrained(tmp_path)
    shutil.copy(base_folder / "vocab.txt", tmp_path)
    with pytest.raises(ModelFolderError):
        EntityEncoder.from_pretrained(tmp_path)


@pytest.mark.parametrize("field", ["cls_token", "sep_token", "pad_token", "unk_token"])
@pytest.mark.parametrize("token", ["<gone>", "[PAD", "[CLS]]", "词外"])
def test_special_token_outside_the_vocabulary_is_refused(
    model_folder: Path, tmp_path: Path, field: str, token: str
) -> None:
    shutil.copytree(model_folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({field: token}), encoding="utf-8")
    with pytest.raises(ModelFolderError, match=rf"names '.*' as {field}, which vocab\.txt does not hold"):
        EntityEncoder.from_pretrained(tmp_path)


def test_vocabulary_larger_than_the_embeddings_is_refused(model_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(model_folder, tmp_path, dirs_exist_ok=True)
    with (tmp_path / "vocab.txt").open("a", encoding="utf-8") as stream:
        stream.write("龘\n")
    with pytest.raises(ModelFolderError, match=r"token '龘' the id \d+ and the model has \d+ token embeddings"):
        EntityEncoder.from_pretrained(tmp_path)


@pytest.mark.parametrize("content", ["[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n大\n"])
def test_vocabulary_that_tells_no_texts_apart_is_refused(model_folder: Path, tmp_path: Path, content: str) -> None:
    shutil.copytree(model_folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / "vocab.txt").write_text(content, encoding="utf-8")
    with pytest.raises(ModelFolderError, match="gives different texts the same tokens"):
        EntityEncoder.from_pretrained(tmp_path)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite_are_refused(model_folder: Path, tmp_path: Path, value: float) -> None:
    model = DualEncoder.from_pretrained(model_folder)
    generator = np.random.default_rng(1)
    for name, weight in model.mention_tower.named_parameters():
        if generator.random() < 0.3:
            before = weight.detach().clone()
            with torch.no_grad():
                weight.view(-1)[generator.integers(weight.numel())] = value
            model.save_pretrained(tmp_path)
            with pytest.raises(ModelFolderError, match=f"weight {name} holds NaN or infinity"):
                DualEncoder.from_pretrained(tmp_path)
            weight.data.copy_(before)


def test_weights_whose_sum_overflows_are_no_error(base_folder: Path, tmp_path: Path) -> None:
    model = DualEncoder.from_pretrained(base_folder)
    with torch.no_grad():
        next(model.parameters())[0, :20] = 3e38
    model.save_pretrained(tmp_path)
    DualEncoder.from_pretrained(tmp_path)


def test_model_that_gives_every_text_one_vector_is_refused(model_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(model_folder, tmp_path, dirs_exist_ok=True)
    model = DualEncoder.from_pretrained(model_folder)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith("word_embeddings.weight"):
                weight.zero_()
    model.save_pretrained(tmp_path)
    with pytest.raises(ModelFolderError, match="gives different texts the same vector"):
        EntityEncoder.from_pretrained(tmp_path)


def test_window_longer_than_either_tower_is_refused(base_folder: Path, tmp_path: Path) -> None:
    write_random_bert(
        tmp_path, vocabulary=(base_folder / "vocab.txt").read_text().split(), hidden_size=64, max_length=48
    )
    short = DualEncoder.from_pretrained(tmp_path)
    model = DualEncoder(DualEncoder.from_pretrained(base_folder).mention_tower, short.mention_tower)
    with pytest.raises(InputError, match="max_length=128 is more than the 48 positions"):
        EntityEncoder(model, EntityEncoder.from_pretrained(base_folder).tokenizer)
