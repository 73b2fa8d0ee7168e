from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ENTITIES, MENTIONS

from modelscope_plugin.data import entity_text
from modelscope_plugin.encoding import EntityEncoder
from modelscope_plugin.encoding.backends import torch_backend
from modelscope_plugin.encoding.backends.packed_linear import PackedLinear, can_pack, pack_linears
from modelscope_plugin.errors import InputTypeError
from modelscope_plugin.modeling.random_model import write_random_bert


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every job counts as large."""
    monkeypatch.setattr(torch_backend, "_TOKENS_WORTH_PACKING", 0)


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("pooler", ["cls", "avg", "avg_top2", "avg_first_last"])
def test_large_job_gives_the_plain_vectors(model_folder: Path, pooler: str) -> None:
    encoder = EntityEncoder.from_pretrained(model_folder, device="cpu", emb_pooler_type=pooler)
    assert can_pack(encoder.model)
    inputs = [encoder.tokenizer.pad([ids]) for ids in encoder.tokenizer.entity_ids([entity_text(e) for e in ENTITIES])]
    with torch.inference_mode():
        tensors = ({name: torch.from_numpy(array) for name, array in each.items()} for each in inputs)
        plain = torch.cat([encoder.model.embed("entity", **each) for each in tensors])
    np.testing.assert_allclose(encoder.encode_document(ENTITIES), plain.numpy(), atol=1e-5)


@pytest.mark.usefixtures("large")
def test_large_job_follows_training(model_folder: Path) -> None:
    encoder = EntityEncoder.from_pretrained(model_folder, device="cpu")
    before = encoder.encode_query(MENTIONS)
    with torch.no_grad():
        for parameter in encoder.model.parameters():
            parameter.mul_(1.1)
    after = encoder.encode_query(MENTIONS)
    assert np.abs(after - before).max() > 1e-3
    np.testing.assert_allclose(after, EntityEncoder(encoder.model, encoder.tokenizer).encode_query(MENTIONS))


def test_packed_model_shares_its_parameters_and_leaves_the_model_alone(model_folder: Path) -> None:
    model = EntityEncoder.from_pretrained(model_folder, device="cpu").model
    packed = pack_linears(model, "entity")
    assert any(isinstance(module, PackedLinear) for module in packed.modules())
    assert not any(isinstance(module, PackedLinear) for module in model.modules())
    pairs = zip(model.parameters(), packed.parameters(), strict=True)
    assert all(one.data_ptr() == other.data_ptr() for one, other in pairs)


def test_packed_model_packs_the_tower_of_its_side_only(model_folder: Path) -> None:
    model = EntityEncoder.from_pretrained(model_folder, device="cpu").model
    model.separate_towers()
    packed = pack_linears(model, "entity")
    assert any(isinstance(module, PackedLinear) for module in packed.entity_tower.modules())
    assert not any(isinstance(module, PackedLinear) for module in packed.mention_tower.modules())


def test_16_bit_arithmetic_gives_float32_vectors_close_by(model_folder: Path, encoder: EntityEncoder) -> None:
    half = EntityEncoder.from_pretrained(model_folder, device="cpu", dtype="bfloat16")
    found, expected = half.encode_query(MENTIONS), encoder.encode_query(MENTIONS)
    assert found.dtype == np.float32
    assert 1e-4 < np.abs(found - expected).max() < 0.2
    assert half.fingerprint == encoder.fingerprint


@pytest.mark.process
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on the CPU")
def test_compiled_model_gives_the_plain_vectors(tmp_path: Path) -> None:
    texts = ["苹果", "苹果发布了新手机", "发布"]
    write_random_bert(tmp_path, texts=texts, hidden_size=64, layers=1)
    plain, compiled = (EntityEncoder.from_pretrained(tmp_path, device="cpu", compile=each) for each in (False, True))
    np.testing.assert_allclose(compiled.encode_document(texts), plain.encode_document(texts), atol=1e-5)


def test_compiled_encoder_cannot_be_pickled(model_folder: Path) -> None:
    encoder = EntityEncoder.from_pretrained(model_folder, device="cpu", compile=True)
    with pytest.raises(InputTypeError, match="load it again in each process"):
        pickle.dumps(encoder)
