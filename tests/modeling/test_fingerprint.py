"""Everything that decides a vector is in the fingerprint: folders are changed in many ways and compared."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ENTITIES, MENTIONS

from modelscope_plugin.encoding import EntityEncoder
from modelscope_plugin.errors import IndexMismatchError, PluginError
from modelscope_plugin.modeling.fingerprint import is_same_model
from modelscope_plugin.modeling.model_folder import write_model_folder
from modelscope_plugin.retrieval import EntityIndex
from modelscope_plugin.retrieval.building import build_index

TEXTS = [
    *(mention.text for mention in MENTIONS),
    "Apple apple APPLE ÀPPLÉ e\u0301 ａｂｃ abc123 a-b a_b",
    "a\u3000b\tc\u200bd  e f",
    "[CLS] 苹果 [SEP] [PAD] [UNK] [MASK] 龘龘 " + "a" * 120,
]


@pytest.fixture(scope="module")
def folder(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with all files and fields that transformers writes."""
    encoder = EntityEncoder.from_pretrained(model_folder, emb_pooler_type="avg")
    folder = tmp_path_factory.mktemp("whole")
    write_model_folder(folder, encoder.model, encoder.tokenizer)
    return folder


@pytest.fixture(scope="module")
def known(folder: Path) -> dict[str, np.ndarray]:
    """Fingerprints and the vectors that models with them gave."""
    encoder = EntityEncoder.from_pretrained(folder)
    return {encoder.fingerprint: encoder.encode_document(TEXTS)}


def _check(folder: Path, known: dict[str, np.ndarray]) -> None:
    """A changed folder is refused, has another fingerprint, or gives the same vectors."""
    try:
        encoder = EntityEncoder.from_pretrained(folder)
        vectors = encoder.encode_document(TEXTS)
    except PluginError:
        return
    np.testing.assert_allclose(known.setdefault(encoder.fingerprint, vectors), vectors, atol=1e-6)


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, child in list(items)[:8] if path[-1:] == ("vocab",) else items:
            yield from _leaves(child, (*path, key))
    else:
        yield path


def _change(value: Any) -> list[Any]:
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1, value * 2]
    if isinstance(value, float):
        return [value * 10, 0.5]
    return [None, "大", "gelu_new"] if isinstance(value, str) else [True, False]


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "tokenizer.json"])
def test_a_changed_field_changes_the_fingerprint_or_no_vector(
    folder: Path, known: dict[str, np.ndarray], tmp_path: Path, name: str
) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    original = json.loads((folder / name).read_text(encoding="utf-8"))
    for path in _leaves(original):
        changed = json.loads(json.dumps(original))
        parent = changed
        for key in path[:-1]:
            parent = parent[key]
        for value in _change(parent[path[-1]]):
            parent[path[-1]] = value
            (tmp_path / name).write_text(json.dumps(changed), encoding="utf-8")
            _check(tmp_path, known)


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "tokenizer.json", "configuration.json"])
def test_a_damaged_byte_changes_the_fingerprint_or_no_vector(
    folder: Path, known: dict[str, np.ndarray], tmp_path: Path, name: str
) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    original = (folder / name).read_bytes()
    generator = random.Random(name)
    for _ in range(60):
        damaged = bytearray(original)
        damaged[generator.randrange(len(damaged))] ^= 1 << generator.randrange(8)
        (tmp_path / name).write_bytes(damaged)
        _check(tmp_path, known)


def test_settings_of_other_versions_of_transformers_make_no_difference(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    # The first is in every BERT that version 4 saved, and version 5 does not know it.
    more = {"position_embedding_type": "absolute", "chunk_size_feed_forward": 0, "of_version_6": "x"}
    (tmp_path / "config.json").write_text(json.dumps(config | more), encoding="utf-8")
    fingerprints = [EntityEncoder.from_pretrained(one, device="cpu").fingerprint for one in (folder, tmp_path)]
    assert fingerprints[0] == fingerprints[1]


def _set(name: str, **values: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        content = json.loads((folder / name).read_text(encoding="utf-8")) | values
        (folder / name).write_text(json.dumps(content), encoding="utf-8")

    return change


@pytest.mark.parametrize(
    "change",
    [
        _set("config.json", num_attention_heads=2),
        _set("config.json", layer_norm_eps=1e-3),
        _set("config.json", hidden_act="relu"),
        _set("tokenizer_config.json", cls_token="[SEP]"),
        _set("tokenizer_config.json", pad_token="[UNK]"),
    ],
)
def test_settings_of_the_architecture_and_special_tokens_are_covered(
    folder: Path, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    change(tmp_path)
    before, after = EntityEncoder.from_pretrained(folder), EntityEncoder.from_pretrained(tmp_path)
    if after.fingerprint.split(".")[1] == before.fingerprint.split(".")[1]:
        # transformers 4.57 takes the special tokens around a text from tokenizer.json, whatever the other file says.
        assert after.tokenizer.text_ids(["大鹏", "a"]) == before.tokenizer.text_ids(["大鹏", "a"])
        assert version("transformers") < "5"


@pytest.mark.parametrize("option", ["do_lower_case", "strip_accents", "tokenize_chinese_chars"])
def test_options_of_word_pieces_are_covered(tmp_path: Path, option: str) -> None:
    from modelscope_plugin.modeling.random_model import write_random_bert

    fingerprints = set()
    for value in (True, False):
        folder = tmp_path / str(value)
        write_random_bert(folder, ["大鹏abcABCéÉe苹果"], hidden_size=64)
        (folder / "tokenizer_config.json").write_text(json.dumps({option: value}))
        fingerprints.add(EntityEncoder.from_pretrained(folder).fingerprint)
    assert len(fingerprints) == 2


@pytest.mark.parametrize("field", ["hidden_dropout_prob", "initializer_range", "use_cache", "architectures"])
def test_settings_of_training_make_no_difference(folder: Path, tmp_path: Path, field: str) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    value = {"use_cache": False, "architectures": ["BertForMaskedLM"]}.get(field, 0.3)
    _set("config.json", **{field: value})(tmp_path)
    assert EntityEncoder.from_pretrained(tmp_path).fingerprint == EntityEncoder.from_pretrained(folder).fingerprint


def test_fingerprint_is_that_of_the_files_whatever_their_form(model_folder: Path, tmp_path: Path) -> None:
    encoder = EntityEncoder.from_pretrained(model_folder)
    write_model_folder(tmp_path, encoder.model, encoder.tokenizer)
    assert (tmp_path / "tokenizer.json").exists() > (model_folder / "tokenizer.json").exists()
    assert EntityEncoder.from_pretrained(tmp_path).fingerprint == encoder.fingerprint


def test_index_with_the_fingerprint_of_version_01_is_accepted(encoder: EntityEncoder, tmp_path: Path) -> None:
    build_index(encoder, ENTITIES, show_progress_bar=False).save(tmp_path / "index")
    _set("manifest.json", fingerprint=encoder.fingerprint.partition(".")[0])(tmp_path / "index")
    EntityIndex.load(tmp_path / "index").check_model(encoder.fingerprint)


def test_index_of_other_settings_is_refused(encoder: EntityEncoder, index_folder: Path) -> None:
    base = encoder.fingerprint.partition(".")[0]
    with pytest.raises(IndexMismatchError, match="another model"):
        EntityIndex.load(index_folder).check_model(f"{base}.0123456789abcdef")


def test_base_of_a_fingerprint_is_what_version_01_recorded(base_folder: Path) -> None:
    encoder = EntityEncoder.from_pretrained(base_folder)
    # Written by version 0.1 for the same model: its weights, pooler, prefixes and vocabulary.
    from modelscope_plugin.storage.digests import digest_of

    vocabulary = sorted(encoder.tokenizer.tokenizer.get_vocab().items())
    recorded = digest_of(repr((encoder.model.weights_digest(), "", "", vocabulary)))
    assert is_same_model(recorded, encoder.fingerprint)
    assert not is_same_model(recorded[:-1], encoder.fingerprint)
