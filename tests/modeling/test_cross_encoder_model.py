from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import pytest
import torch
from conftest import write_cross_encoder
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, BertForSequenceClassification

from modelscope_plugin.errors import InputError, MissingFileError, ModelFolderError
from modelscope_plugin.modeling.cross_encoder import CrossEncoderModel

INPUTS = {
    "input_ids": torch.tensor([[2, 7, 8, 3, 9, 3]]),
    "attention_mask": torch.ones(1, 6, dtype=torch.int64),
    "token_type_ids": torch.tensor([[0, 0, 0, 0, 1, 1]]),
}


def _score(model: CrossEncoderModel) -> torch.Tensor:
    with torch.no_grad():
        return model.score(**INPUTS)


def _rewrite_weights(folder: Path, names: dict[str, str]) -> None:
    """Rename weights by prefix, into a ``pytorch_model.bin``."""
    weights = load_file(folder / "model.safetensors")
    renamed = {}
    for name, value in weights.items():
        old = next((prefix for prefix in names if name.startswith(prefix)), "")
        renamed[names.get(old, "") + name[len(old) :]] = value
    (folder / "model.safetensors").unlink()
    torch.save(renamed, folder / "pytorch_model.bin")


@pytest.fixture
def folder(base_folder: Path, tmp_path: Path) -> Path:
    """A cross encoder of the test's own."""
    return write_cross_encoder(base_folder, tmp_path / "cross-encoder")


def test_score_is_the_logit_of_transformers(folder: Path) -> None:
    plain = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        expected = plain(**INPUTS).logits[:, 0]
    torch.testing.assert_close(_score(CrossEncoderModel.from_pretrained(folder)), expected)


def test_second_segment_decides_the_score(folder: Path) -> None:
    model = CrossEncoderModel.from_pretrained(folder)
    with torch.no_grad():
        other = model.score(**{**INPUTS, "token_type_ids": torch.zeros(1, 6, dtype=torch.int64)})
    assert abs(_score(model) - other) > 1e-4


def test_saved_folder_gives_the_same_model(folder: Path, tmp_path: Path) -> None:
    model = CrossEncoderModel.from_pretrained(folder)
    model.save_pretrained(tmp_path / "again")
    again = CrossEncoderModel.from_pretrained(tmp_path / "again")
    assert again.fingerprint() == model.fingerprint()
    torch.testing.assert_close(_score(again), _score(model))


def test_head_of_a_plain_encoder_comes_from_the_seed(base_folder: Path) -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    one, same, other = (CrossEncoderModel.from_pretrained(base_folder, seed=seed) for seed in (1, 1, 2))
    assert one.fingerprint() == same.fingerprint() != other.fingerprint()
    assert torch.equal(torch.get_rng_state(), state)
    for name, weight in load_file(base_folder / "model.safetensors").items():
        assert torch.equal(one.model.get_parameter(f"bert.{name}"), weight)


def test_mention_tower_of_a_dual_encoder_is_taken(model_folder: Path, base_folder: Path) -> None:
    found, expected = (CrossEncoderModel.from_pretrained(folder, seed=1) for folder in (model_folder, base_folder))
    assert found.fingerprint() == expected.fingerprint()


def test_head_that_is_there_is_kept_whatever_the_seed(folder: Path) -> None:
    with_seed, without = (CrossEncoderModel.from_pretrained(folder, seed=seed) for seed in (7, None))
    assert with_seed.fingerprint() == without.fingerprint()


def test_plain_encoder_without_a_seed_raises(base_folder: Path) -> None:
    with pytest.raises(ModelFolderError, match=r"has no head that scores pairs \(bert.pooler.*train a re-ranker"):
        CrossEncoderModel.from_pretrained(base_folder)


def test_head_of_several_labels_is_replaced_only_with_a_seed(folder: Path) -> None:
    config = AutoConfig.from_pretrained(folder, num_labels=3)
    BertForSequenceClassification(config).save_pretrained(folder)
    with pytest.raises(ModelFolderError, match="has a head of several labels"):
        CrossEncoderModel.from_pretrained(folder)
    assert CrossEncoderModel.from_pretrained(folder, seed=1).model.config.num_labels == 1
    with pytest.raises(InputError, match="has 3 labels"):
        CrossEncoderModel(AutoModelForSequenceClassification.from_pretrained(folder))


@pytest.mark.parametrize("head", ["classifier.", "head.classifier."])
def test_weights_by_the_names_of_modelscope_are_read(folder: Path, head: str) -> None:
    expected = CrossEncoderModel.from_pretrained(folder)
    _rewrite_weights(folder, {"classifier.": head})
    config = json.loads((folder / "config.json").read_text())
    del config["model_type"], config["architectures"]
    (folder / "config.json").write_text(json.dumps(config))
    found = CrossEncoderModel.from_pretrained(folder)
    assert found.fingerprint() == expected.fingerprint()


def test_missing_weight_of_the_encoder_raises_even_with_a_seed(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["bert.encoder.layer.1.output.dense.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelFolderError, match="1 weights are missing"):
        CrossEncoderModel.from_pretrained(folder, seed=1)


@pytest.mark.parametrize("name", ["classifier.weight", "bert.pooler.dense.bias", "bert.embeddings.LayerNorm.bias"])
def test_nan_in_any_weight_raises(folder: Path, name: str) -> None:
    weights = load_file(folder / "model.safetensors")
    weights[name].view(-1)[0] = float("nan")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelFolderError, match="holds NaN or infinity"):
        CrossEncoderModel.from_pretrained(folder)


def test_weights_left_over_are_named(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    weights = load_file(folder / "model.safetensors")
    save_file(weights | {"adapter.weight": torch.ones(2)}, folder / "model.safetensors", metadata={"format": "pt"})
    with caplog.at_level(logging.WARNING):
        CrossEncoderModel.from_pretrained(folder)
    assert "1 weights are left over and not used (adapter.weight)" in caplog.text


def test_missing_folder_and_architecture_without_pairs_raise(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingFileError):
        CrossEncoderModel.from_pretrained(tmp_path / "none")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "vit"}))
    with pytest.raises(ModelFolderError, match="no model of text pairs for model_type 'vit'"):
        CrossEncoderModel.from_pretrained(folder)


def test_fingerprint_follows_every_weight_and_not_the_activation(folder: Path, tmp_path: Path) -> None:
    model = CrossEncoderModel.from_pretrained(folder)
    before = model.fingerprint()
    for name in ("classifier.bias", "bert.pooler.dense.weight", "bert.encoder.layer.0.output.dense.bias"):
        with torch.no_grad():
            model.model.get_parameter(name).view(-1)[0] += 1
        assert model.fingerprint() != before
        before = model.fingerprint()
    shutil.copytree(folder, tmp_path / "copy")
    config = json.loads((folder / "config.json").read_text())
    config["sentence_transformers"] = {"activation_fn": "torch.nn.modules.activation.Sigmoid"}
    (tmp_path / "copy" / "config.json").write_text(json.dumps(config))
    first, second = map(CrossEncoderModel.from_pretrained, (folder, tmp_path / "copy"))
    assert first.fingerprint() == second.fingerprint()


def test_model_of_one_segment_ignores_token_types(base_folder: Path) -> None:
    config = AutoConfig.from_pretrained(base_folder, num_labels=1, type_vocab_size=1)
    model = CrossEncoderModel(BertForSequenceClassification(config)).eval()
    without = {name: value for name, value in INPUTS.items() if name != "token_type_ids"}
    with torch.no_grad():
        torch.testing.assert_close(model.score(**INPUTS), model.score(**without))


def test_embeddings_grow_and_never_shrink(folder: Path) -> None:
    model = CrossEncoderModel.from_pretrained(folder)
    size = model.token_embeddings
    for wanted, expected in ((size - 1, size), (size + 2, size + 2)):
        model.resize_token_embeddings(wanted)
        assert model.token_embeddings == expected


@pytest.mark.parametrize(
    ("model_type", "options"),
    [
        ("roberta", {"type_vocab_size": 1}),
        ("electra", {"embedding_size": 32}),
        ("deberta-v2", {"relative_attention": True, "pos_att_type": ["c2p", "p2c"]}),
        ("distilbert", {"dim": 32, "n_layers": 1, "n_heads": 2, "hidden_dim": 32}),
        ("modernbert", {"pad_token_id": 0, "cls_token_id": 2, "sep_token_id": 3, "bos_token_id": 2, "eos_token_id": 3}),
    ],
)
def test_other_architectures_keep_their_head_or_get_one(
    model_type: str, options: dict[str, object], tmp_path: Path
) -> None:
    sizes = {"vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    sizes |= {"intermediate_size": 32, "max_position_embeddings": 40}
    config = AutoConfig.for_model(model_type, **sizes, **options, num_labels=1)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path / "pairs")
    AutoModel.from_config(config).save_pretrained(tmp_path / "encoder")
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "pairs").eval()
    model = CrossEncoderModel.from_pretrained(tmp_path / "pairs")
    inputs = {name: INPUTS[name] for name in ("input_ids", "attention_mask")}
    if model.has_token_types:
        inputs["token_type_ids"] = INPUTS["token_type_ids"]
    with torch.no_grad():
        torch.testing.assert_close(_score(model), plain(**inputs).logits[:, 0])
    with pytest.raises(ModelFolderError, match="has no head that scores pairs"):
        CrossEncoderModel.from_pretrained(tmp_path / "encoder")
    one, same, other = (CrossEncoderModel.from_pretrained(tmp_path / "encoder", seed=seed) for seed in (1, 1, 2))
    assert one.fingerprint() == same.fingerprint() != other.fingerprint()
