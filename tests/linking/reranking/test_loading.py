from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ENTITIES, MENTIONS, write_cross_encoder

from modelscope_plugin.data import entity_text
from modelscope_plugin.encoding import EntityEncoder
from modelscope_plugin.encoding.cross_encoder import CrossEncoder
from modelscope_plugin.errors import MissingFileError, ModelFolderError
from modelscope_plugin.linking.reranking.cross_encoder import CrossEncoderReranker
from modelscope_plugin.linking.reranking.late_interaction import LateInteraction
from modelscope_plugin.linking.reranking.loading import load_reranker


@pytest.fixture
def cross_encoder_folder(base_folder: Path, tmp_path: Path) -> Path:
    """A cross encoder of random weights."""
    return write_cross_encoder(base_folder, tmp_path / "cross")


def with_type(source: Path, target: Path, model_type: Any) -> Path:
    """A copy of a model folder of another type."""
    shutil.copytree(source, target)
    path = target / "configuration.json"
    configuration = json.loads(path.read_text(encoding="utf-8"))
    configuration["model"]["type"] = model_type
    path.write_text(json.dumps(configuration), encoding="utf-8")
    return target


def test_a_dual_encoder_serves_as_late_interaction(model_folder: Path, tmp_path: Path, encoder: EntityEncoder) -> None:
    plain = load_reranker(model_folder, device="cpu")
    trained = load_reranker(with_type(model_folder, tmp_path / "late", "entity-late-interaction"), device="cpu")
    assert isinstance(plain, LateInteraction)
    assert isinstance(trained, LateInteraction)
    assert plain.fingerprint == trained.fingerprint != encoder.fingerprint
    assert plain.name == str(model_folder.resolve())


def test_a_cross_encoder_scores_pairs(cross_encoder_folder: Path) -> None:
    reranker = load_reranker(cross_encoder_folder, device="cpu")
    assert isinstance(reranker, CrossEncoderReranker)
    scores = reranker.score(MENTIONS[:3], [ENTITIES[:2], [], ENTITIES[2:]])
    assert [len(one) for one in scores] == [2, 0, 4]
    pairs = [(mention, entity_text(entity)) for mention in MENTIONS[:3] for entity in ENTITIES]
    every = CrossEncoder.from_pretrained(cross_encoder_folder, device="cpu").predict(pairs).reshape(3, 6)
    np.testing.assert_allclose(np.concatenate(scores), [*every[0, :2], *every[2, 2:]], atol=1e-5)
    assert reranker.score([], []) == []
    assert reranker.fingerprint == reranker.cross_encoder.fingerprint


@pytest.mark.parametrize("model_type", ["entity-linker", "bert", None])
def test_a_model_of_another_kind_is_named(model_folder: Path, tmp_path: Path, model_type: Any) -> None:
    folder = with_type(model_folder, tmp_path / "other", model_type)
    with pytest.raises(ModelFolderError, match=r"other is no re-ranker: its model\.type is .*entity-cross-encoder"):
        load_reranker(folder)


def test_a_folder_that_is_no_model_is_named(index_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFolderError, match=r"is no re-ranker: there is no model\.type"):
        load_reranker(index_folder)
    with pytest.raises(MissingFileError, match="there is no model folder"):
        load_reranker(tmp_path / "missing")
