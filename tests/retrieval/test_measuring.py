from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from conftest import ENTITIES

from modelscope_plugin.data import Entity, Mention
from modelscope_plugin.data.views import ViewSettings
from modelscope_plugin.encoding import EntityEncoder
from modelscope_plugin.errors import IndexMismatchError
from modelscope_plugin.retrieval import EntityIndex
from modelscope_plugin.retrieval.building import build_index, tune_index
from modelscope_plugin.retrieval.measuring import measure_quality
from modelscope_plugin.types import Vectors

LETTERS = "苹果公司大鹏董成美人鱼长江神鸟电影品类型北京迷失演员导游"


def entities(count: int = 60) -> list[Entity]:
    drawn = np.random.default_rng(3)
    names = ["".join(drawn.choice(list(LETTERS), 4, replace=False)) for _ in range(count)]
    return [
        Entity(f"e{number:02}", name, description=f"第{number}个，{name[::-1]}。") for number, name in enumerate(names)
    ]


class LetterEncoder:
    """Counts the letters of what it encodes: as good as names, without training."""

    name, fingerprint, dimension, max_length = "letters", "letters", len(LETTERS), 64

    def encode_query(self, mentions: Sequence[str | Mention], **_: object) -> Vectors:
        return self._encode([one.surface if isinstance(one, Mention) else one for one in mentions])

    def encode_document(self, given: Sequence[str | Entity], **_: object) -> Vectors:
        return self._encode([one if isinstance(one, str) else one.name for one in given])

    def _encode(self, texts: Sequence[str]) -> Vectors:
        counts = np.array([[text.count(letter) for letter in LETTERS] for text in texts], dtype=np.float32)
        vectors: Vectors = counts.reshape(len(texts), len(LETTERS))
        return vectors


class NoiseEncoder(LetterEncoder):
    """Gives each text a vector that has nothing to do with it."""

    def _encode(self, texts: Sequence[str]) -> Vectors:
        seeds = [sum(map(ord, text)) for text in texts]
        drawn = [np.random.default_rng(seed).normal(size=len(LETTERS)) for seed in seeds]
        return np.array(drawn, dtype=np.float32).reshape(len(texts), len(LETTERS))


def test_vectors_of_letters_are_as_good_as_names_and_noise_is_not() -> None:
    good, poor = (
        measure_quality(one, build_index(one, entities(), show_progress_bar=False))
        for one in (LetterEncoder(), NoiseEncoder())
    )
    assert good is not None
    assert poor is not None
    assert good.ratio > 0.8
    assert poor.ratio < 0.3
    assert (good.names, good.mentions, good.entities) == (poor.names, 60, 60)
    assert good.names > 0.5


def test_figures_depend_on_the_seed_alone(encoder: EntityEncoder) -> None:
    index = build_index(encoder, entities(), show_progress_bar=False)
    first, again, other = (measure_quality(encoder, index, seed=seed) for seed in (1, 1, 2))
    assert first == again != other


def test_few_entities_are_not_measured(encoder: EntityEncoder, index: EntityIndex) -> None:
    assert len(ENTITIES) < 30
    assert measure_quality(encoder, index) is None


def test_names_of_nothing_are_not_measured() -> None:
    bare = [Entity(f"e{number}", " ") for number in range(60)]
    assert measure_quality(LetterEncoder(), build_index(LetterEncoder(), bare, show_progress_bar=False)) is None


@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_stored_precision_hardly_changes_the_figures(encoder: EntityEncoder, precision: str) -> None:
    index = build_index(encoder, entities(), show_progress_bar=False)
    whole = measure_quality(encoder, index)
    tune_index(encoder, index, precision=precision)
    stored = measure_quality(encoder, index)
    assert whole is not None
    assert stored is not None
    assert stored.dense == pytest.approx(whole.dense, abs=0.1)
    assert stored.names == whole.names


def test_entities_of_several_views_are_measured(encoder: EntityEncoder) -> None:
    index = build_index(encoder, entities(), views=ViewSettings(max_views=3), show_progress_bar=False)
    assert measure_quality(encoder, index) is not None


def test_index_of_another_model_is_refused(encoder: EntityEncoder) -> None:
    with pytest.raises(IndexMismatchError):
        measure_quality(encoder, build_index(LetterEncoder(), entities(), show_progress_bar=False))
