"""Base models with random weights."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from conftest import ENTITIES, MENTIONS

from modelscope_plugin.config.training_settings import read_training_configuration, read_training_settings
from modelscope_plugin.data import entity_text
from modelscope_plugin.encoding import EntityEncoder
from modelscope_plugin.errors import InputError
from modelscope_plugin.modeling.random_model import SIZES, write_base_model
from modelscope_plugin.retrieval.building import build_index
from modelscope_plugin.training.training import train

TEXTS = [*map(entity_text, ENTITIES), *(mention.text for mention in MENTIONS)]


def test_vocabulary_has_the_characters_of_the_texts_and_ascii(tmp_path: Path) -> None:
    tokens = write_base_model(tmp_path / "base", ENTITIES, MENTIONS)
    vocabulary = (tmp_path / "base" / "vocab.txt").read_text(encoding="utf-8").split("\n")[:-1]
    assert tokens == len(vocabulary) == len(set(vocabulary))
    wanted = {character for text in TEXTS for character in text.lower() if not character.isspace()}
    assert wanted | set("az09~") | {"##z", "[ENT_S]", "[ENT_E]"} <= set(vocabulary)


def test_same_seed_gives_same_vectors_and_another_seed_others(tmp_path: Path) -> None:
    vectors = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_base_model(tmp_path / name, ENTITIES, MENTIONS, seed=seed)
        vectors.append(EntityEncoder.from_pretrained(tmp_path / name, device="cpu").encode_query(["小品里大鹏很好笑"]))
    assert (vectors[0] == vectors[1]).all()
    assert not (vectors[0] == vectors[2]).all()


@pytest.mark.parametrize("size", ["tiny", "small"])
def test_sizes(tmp_path: Path, size: str) -> None:
    write_base_model(tmp_path / "base", ENTITIES, MENTIONS, size=size, max_length=64)  # type: ignore[arg-type]
    encoder = EntityEncoder.from_pretrained(tmp_path / "base", device="cpu")
    config = json.loads((tmp_path / "base" / "config.json").read_text(encoding="utf-8"))
    assert (config["num_hidden_layers"], encoder.dimension, encoder.max_length) == (*SIZES[size][:2], 64)  # type: ignore[index]


@pytest.mark.parametrize("wrong", [{"size": "huge"}, {"max_length": 8}, {"max_length": 513}])
def test_wrong_values_are_refused_and_leave_nothing(tmp_path: Path, wrong: dict[str, object]) -> None:
    with pytest.raises(InputError):
        write_base_model(tmp_path / "base", ENTITIES, MENTIONS, **wrong)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_files_of_others_stay(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="is there already"):
        write_base_model(tmp_path / "base", ENTITIES, MENTIONS)
    assert [path.name for path in tmp_path.rglob("*")] == ["base", "thesis.txt"]


def test_trains_with_its_own_settings_and_learns(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    base, model = tmp_path / "base", tmp_path / "model"
    write_base_model(base, ENTITIES, MENTIONS, max_length=32)
    settings = read_training_settings(read_training_configuration(base))
    with caplog.at_level(logging.WARNING):
        result = train(base, lambda: ENTITIES, MENTIONS, model, *settings, device="cpu")
        encoder = EntityEncoder.from_pretrained(model, device="cpu")
    assert not caplog.records
    assert not result.best.collapsed
    index = build_index(encoder, ENTITIES)
    best = [found[0].id for found in index.search(encoder.encode_query(MENTIONS), 1)]
    assert best == [mention.entity_ids[0] for mention in MENTIONS]


def test_an_untrained_model_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_base_model(tmp_path / "base", ENTITIES, MENTIONS)
    with caplog.at_level(logging.WARNING):
        EntityEncoder.from_pretrained(tmp_path / "base", device="cpu")
    assert "random weights" in caplog.text
    assert "modelscope entity train --model" in caplog.text
