from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from tokenizers import ByteLevelBPETokenizer
from transformers import RobertaConfig, RobertaModel, RobertaTokenizerFast

from modelscope_plugin.encoding import EntityEncoder
from modelscope_plugin.modeling.checkpoint_files import load_tokenizer
from modelscope_plugin.modeling.dual_encoder import DualEncoder
from modelscope_plugin.modeling.model_folder import write_model_folder
from modelscope_plugin.modeling.pooling import POOLER_TYPES
from modelscope_plugin.modeling.random_model import write_random_bert
from modelscope_plugin.modeling.tokenization import EntityTokenizer, declare_markers
from modelscope_plugin.publishing.export.sentence_transformers_files import (
    has_same_tokens,
    write_sentence_transformers_files,
)

MENTIONS = ["小品里 [ENT_S] 大鹏 [ENT_E] 很好笑", "[ENT_S] apple [ENT_E] fell", "没有标记"]
ENTITIES = ["董成鹏； 类型： Person； 别名： Da Peng， 大鹏;", "Apple Inc."]


def _encoder(
    base: Path, pooler: str = "cls", normalize: bool = False, towers: int = 1, boq: str = "", bod: str = ""
) -> EntityEncoder:
    model = DualEncoder.from_pretrained(base, emb_pooler_type=pooler, normalize=normalize)
    if towers == 2:
        model.separate_towers()
        with torch.no_grad():
            for parameter in model.entity_tower.parameters():
                parameter += 0.02 * torch.randn_like(parameter)
    return EntityEncoder(model, EntityTokenizer(load_tokenizer(base), 64, boq, bod))


def _opened(encoder: EntityEncoder, folder: Path) -> SentenceTransformer:
    write_model_folder(folder, encoder.model, encoder.tokenizer)
    assert has_same_tokens(encoder)
    write_sentence_transformers_files(folder, encoder)
    return SentenceTransformer(str(folder), device="cpu")


def _check_same_vectors(encoder: EntityEncoder, model: SentenceTransformer) -> None:
    mentions, entities = encoder.encode_query(MENTIONS), encoder.encode_document(ENTITIES)
    np.testing.assert_allclose(model.encode(MENTIONS), mentions, atol=1e-5)
    np.testing.assert_allclose(model.encode_query(MENTIONS), mentions, atol=1e-5)
    np.testing.assert_allclose(model.encode_document(ENTITIES), entities, atol=1e-5)
    np.testing.assert_allclose(model.similarity(mentions, entities).numpy(), mentions @ entities.T, atol=1e-4)


@pytest.mark.parametrize("pooler", POOLER_TYPES)
@pytest.mark.parametrize(("normalize", "towers"), [(False, 1), (True, 1), (False, 2), (True, 2)])
def test_sentence_transformers_gives_the_same_vectors(
    pooler: str, normalize: bool, towers: int, base_folder: Path, tmp_path: Path
) -> None:
    encoder = _encoder(base_folder, pooler, normalize, towers)
    _check_same_vectors(encoder, _opened(encoder, tmp_path))


@pytest.mark.parametrize("pooler", ["avg_top2", "avg_first_last"])
@pytest.mark.parametrize("layers", [1, 4])
def test_layer_poolers_pick_their_layers(pooler: str, layers: int, tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    write_random_bert(base, [*MENTIONS, *ENTITIES], hidden_size=64, layers=layers)
    encoder = _encoder(base, pooler)
    _check_same_vectors(encoder, _opened(encoder, tmp_path / "model"))


@pytest.mark.parametrize("towers", [1, 2])
@pytest.mark.parametrize(("boq", "bod"), [("查询：", "实体："), ("查询：", ""), ("", "实体："), ("query: ", "")])
def test_prefixes_become_prompts(towers: int, boq: str, bod: str, base_folder: Path, tmp_path: Path) -> None:
    encoder = _encoder(base_folder, "avg", True, towers, boq, bod)
    model = _opened(encoder, tmp_path)
    assert model.prompts == {"query": boq, "document": bod}
    _check_same_vectors(encoder, model)


def test_prefix_that_grows_together_with_the_text_is_found(base_folder: Path) -> None:
    assert not has_same_tokens(_encoder(base_folder, boq="query"))
    assert not has_same_tokens(_encoder(base_folder, bod="entity"))


def _byte_level_base(folder: Path) -> Path:
    """A RoBERTa, whose tokens hold the space in front of a word."""
    folder.mkdir()
    words = ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    words.train_from_iterator([*MENTIONS, *ENTITIES], vocab_size=300, special_tokens=special)
    words.save_model(str(folder))
    tokenizer = RobertaTokenizerFast.from_pretrained(folder)
    declare_markers(tokenizer)
    config = RobertaConfig(
        vocab_size=len(tokenizer), hidden_size=64, num_hidden_layers=2, num_attention_heads=1, intermediate_size=64,
        max_position_embeddings=80, type_vocab_size=1,
    )  # fmt: skip
    RobertaModel(config, add_pooling_layer=False).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("boq", ["", "查询："])
def test_byte_level_tokens_are_the_same_too(boq: str, tmp_path: Path) -> None:
    encoder = _encoder(_byte_level_base(tmp_path / "base"), "avg", boq=boq)
    _check_same_vectors(encoder, _opened(encoder, tmp_path / "model"))


def test_space_that_goes_into_the_next_token_is_found(tmp_path: Path) -> None:
    assert not has_same_tokens(_encoder(_byte_level_base(tmp_path / "base"), boq="query: "))


def test_check_of_tokens_leaves_the_tokenizer_as_it_is(base_folder: Path) -> None:
    encoder = _encoder(base_folder, boq="查询：")
    backend = encoder.tokenizer.tokenizer.backend_tokenizer
    before = backend.to_str()
    assert has_same_tokens(encoder)
    assert backend.to_str() == before


def test_markers_that_the_vocabulary_lacks_give_the_same_pieces(unmarked_folder: Path, tmp_path: Path) -> None:
    encoder = _encoder(unmarked_folder)
    _check_same_vectors(encoder, _opened(encoder, tmp_path))


def test_texts_are_cut_at_the_window(base_folder: Path, tmp_path: Path) -> None:
    encoder = _encoder(base_folder)
    model = _opened(encoder, tmp_path)
    assert model.max_seq_length == 64
    text = "苹果" * 200
    np.testing.assert_allclose(model.encode_document([text]), encoder.encode_document([text]), atol=1e-5)


def test_weights_are_not_stored_twice(base_folder: Path, tmp_path: Path) -> None:
    _opened(_encoder(base_folder, "avg_top2", True, towers=2), tmp_path)
    weights = sorted(
        path.relative_to(tmp_path).as_posix()
        for path in tmp_path.rglob("*.safetensors")
        if path.stat().st_size > 10_000
    )
    assert weights == ["entity_tower/model.safetensors", "model.safetensors"]


def test_folder_opens_without_a_complaint(
    base_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    encoder = EntityEncoder.from_pretrained(base_folder, device="cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _opened(encoder, tmp_path)
    assert not [record for record in caplog.records if record.levelname != "INFO"]
    assert "pooler" not in capfd.readouterr().err


def test_modules_stand_in_order(base_folder: Path, tmp_path: Path) -> None:
    _opened(_encoder(base_folder, "avg_first_last", True, towers=2), tmp_path)
    modules = json.loads((tmp_path / "modules.json").read_text(encoding="utf-8"))
    assert [module["path"] for module in modules] == ["", "1_WeightedLayerPooling", "2_Pooling", "3_Normalize"]
