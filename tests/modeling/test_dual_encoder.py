from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoModel

from modelscope_plugin.errors import InputError, ModelFolderError
from modelscope_plugin.modeling.checkpoint import load_tower
from modelscope_plugin.modeling.checkpoint_files import load_entity_tokenizer
from modelscope_plugin.modeling.dual_encoder import DualEncoder
from modelscope_plugin.modeling.model_folder import write_model_folder

IDS = torch.tensor([[2, 7, 8, 9, 3], [2, 10, 3, 0, 0]])
MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])


def _reference(folder: Path, pooler_type: str) -> torch.Tensor:
    """The poolers of ModelScope's built-in model, written out one text at a time."""
    tower = AutoModel.from_pretrained(folder, add_pooling_layer=False).eval()
    rows = []
    with torch.no_grad():
        for ids, mask in zip(IDS, MASK, strict=True):
            states = tower(input_ids=ids[mask == 1][None], output_hidden_states=True).hidden_states
            chosen = {
                "cls": lambda s: s[-1][0, 0],
                "avg": lambda s: s[-1][0].mean(0),
                "avg_top2": lambda s: ((s[-1] + s[-2]) / 2)[0].mean(0),
                "avg_first_last": lambda s: ((s[1] + s[-1]) / 2)[0].mean(0),
            }
            rows.append(chosen[pooler_type](states))
    return torch.stack(rows)


@pytest.mark.parametrize("pooler_type", ["cls", "avg", "avg_top2", "avg_first_last"])
def test_embed_pools_as_the_builtin_defines(base_folder: Path, pooler_type: str) -> None:
    model = DualEncoder.from_pretrained(base_folder, emb_pooler_type=pooler_type)
    with torch.no_grad():
        vectors = model.embed("mention", IDS, MASK)
    assert torch.allclose(vectors, _reference(base_folder, pooler_type), atol=1e-5)


def test_embed_with_normalize_gives_unit_vectors(base_folder: Path) -> None:
    model = DualEncoder.from_pretrained(base_folder, normalize=True)
    with torch.no_grad():
        assert torch.allclose(model.embed("entity", IDS, MASK).norm(dim=-1), torch.ones(2))


def test_unknown_pooler_raises(base_folder: Path) -> None:
    with pytest.raises(InputError, match="unknown emb_pooler_type 'max'; choose from cls, avg"):
        DualEncoder.from_pretrained(base_folder, emb_pooler_type="max")


def test_shared_tower_gives_both_sides_the_same_vector(base_folder: Path) -> None:
    model = DualEncoder.from_pretrained(base_folder)
    assert model.towers == 1
    with torch.no_grad():
        assert torch.equal(model.embed("mention", IDS, MASK), model.embed("entity", IDS, MASK))


def test_separate_towers_start_equal_and_are_independent(base_folder: Path) -> None:
    model = DualEncoder.from_pretrained(base_folder)
    model.separate_towers()
    with torch.no_grad():
        before = model.embed("mention", IDS, MASK)
        assert torch.equal(before, model.embed("entity", IDS, MASK))
        next(model.entity_tower.parameters()).add_(1)
        assert torch.equal(before, model.embed("mention", IDS, MASK))
        assert not torch.equal(before, model.embed("entity", IDS, MASK))


@pytest.mark.parametrize("towers", [1, 2])
def test_model_folder_round_trip(base_folder: Path, tmp_path: Path, towers: int) -> None:
    model = DualEncoder.from_pretrained(base_folder, emb_pooler_type="avg", normalize=True)
    if towers == 2:
        model.separate_towers()
        with torch.no_grad():
            next(model.entity_tower.parameters()).add_(1)
    write_model_folder(tmp_path, model, load_entity_tokenizer(base_folder, 64))
    again = DualEncoder.from_pretrained(tmp_path)
    assert (again.towers, again.emb_pooler_type, again.normalize) == (towers, "avg", True)
    assert again.fingerprint() == model.fingerprint()
    with torch.no_grad():
        assert torch.equal(again.embed("entity", IDS, MASK), model.embed("entity", IDS, MASK))


def test_fingerprint_does_not_depend_on_the_file_format(base_folder: Path, builtin_folder: Path) -> None:
    assert (
        DualEncoder.from_pretrained(base_folder).fingerprint()
        == DualEncoder.from_pretrained(builtin_folder).fingerprint()
    )


@pytest.mark.parametrize("settings", [{"emb_pooler_type": "avg"}, {"normalize": True}])
def test_fingerprint_depends_on_settings(base_folder: Path, settings: dict[str, object]) -> None:
    plain = DualEncoder.from_pretrained(base_folder)
    assert DualEncoder.from_pretrained(base_folder, **settings).fingerprint() != plain.fingerprint()


def test_fingerprint_depends_on_every_weight(base_folder: Path) -> None:
    model = DualEncoder.from_pretrained(base_folder)
    before = model.fingerprint()
    with torch.no_grad():
        list(model.parameters())[-1][0] += 1e-3
    assert model.fingerprint() != before


def test_resize_token_embeddings_grows_and_never_shrinks(base_folder: Path) -> None:
    model = DualEncoder.from_pretrained(base_folder)
    size = model.mention_tower.get_input_embeddings().num_embeddings
    model.resize_token_embeddings(size - 2)
    assert model.mention_tower.get_input_embeddings().num_embeddings == size
    model.resize_token_embeddings(size + 2)
    assert model.mention_tower.get_input_embeddings().num_embeddings == size + 2


def test_towers_of_different_size_raise(base_folder: Path, tmp_path: Path) -> None:
    from modelscope_plugin.modeling.random_model import write_random_bert

    write_random_bert(tmp_path, ["大鹏"], hidden_size=128)
    with pytest.raises(InputError, match="64 dimensions and the entity tower 128"):
        DualEncoder(load_tower(base_folder), load_tower(tmp_path))


def test_folder_of_a_cross_encoder_raises(cross_encoder_folder: Path) -> None:
    with pytest.raises(ModelFolderError, match="holds a cross encoder, which scores pairs and gives no vectors"):
        DualEncoder.from_pretrained(cross_encoder_folder)


def test_other_bert_family_checkpoints_load(base_folder: Path, tmp_path: Path) -> None:
    from transformers import ElectraConfig, ElectraModel

    config = ElectraConfig(
        vocab_size=50, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )
    ElectraModel(config).save_pretrained(tmp_path)
    shutil.copy(base_folder / "vocab.txt", tmp_path)
    with torch.no_grad():
        assert DualEncoder.from_pretrained(tmp_path).embed("mention", IDS, MASK).shape == (2, 32)
