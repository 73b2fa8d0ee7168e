"""Folders with the built-in configuration.json, against the built-in pipeline where that runs."""

from __future__ import annotations

import importlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from modelscope.pipelines import pipeline
from modelscope.preprocessors import Preprocessor
from modelscope.utils.constant import Tasks

import modelscope_plugin  # noqa: F401  (registers the plugin)

INPUT = {
    "source_sentence": ["宋小宝小品《美人鱼》， [ENT_S] 大鹏 [ENT_E] 上演生死离别，关键时刻美人鱼登场"],
    "sentences_to_compare": ["董成鹏； 类型： Person； 别名： Da Peng， 大鹏;", "大鹏； 类型： Other;", "苹果"],
}


def _builtin_runs() -> bool:
    try:
        importlib.import_module("modelscope.models.nlp.bert.sentence_embedding")
    except (ImportError, AttributeError):
        return False
    return True


builtin_only = pytest.mark.skipif(
    not _builtin_runs(), reason="the built-in model cannot be imported with this transformers"
)
without_builtin = pytest.mark.skipif(_builtin_runs(), reason="the built-in model runs with this transformers and stays")


@pytest.fixture(scope="module")
def ours(builtin_folder: Path) -> Any:
    return pipeline(Tasks.sentence_embedding, model=str(builtin_folder), pipeline_name="entity-embedding", device="cpu")


@pytest.fixture(scope="module")
def card(builtin_folder: Path) -> Any:
    """The pipeline exactly as the model card's snippet makes it."""
    return pipeline(Tasks.sentence_embedding, model=str(builtin_folder))


def test_snippet_of_the_card_runs(card: Any) -> None:
    result = card(INPUT)
    assert set(result) == {"text_embedding", "scores"}
    assert result["text_embedding"].shape == (4, 64)
    assert result["text_embedding"].dtype == np.float32
    source, candidates = result["text_embedding"][0], result["text_embedding"][1:]
    np.testing.assert_allclose(result["scores"], candidates @ source, rtol=1e-5)


@without_builtin
def test_builtin_names_are_taken_over_where_the_builtin_cannot_run(card: Any) -> None:
    assert type(card).__module__.startswith("modelscope_plugin.")


@builtin_only
def test_builtin_names_stay_where_the_builtin_runs(card: Any) -> None:
    assert type(card).__module__ == "modelscope.pipelines.nlp.sentence_embedding_pipeline"


@builtin_only
@pytest.mark.parametrize(
    "value",
    [
        INPUT,
        {"source_sentence": INPUT["source_sentence"]},
        {"source_sentence": ["大鹏"], "sentences_to_compare": []},
        {"source_sentence": ["大鹏" * 200], "sentences_to_compare": ["苹果" * 200]},
    ],
)
def test_numbers_are_those_of_the_builtin(ours: Any, card: Any, value: Any) -> None:
    expected, result = card(value), ours(value)
    assert set(result) == set(expected)
    assert result["text_embedding"].shape == expected["text_embedding"].shape
    assert result["text_embedding"].dtype == expected["text_embedding"].dtype
    np.testing.assert_allclose(result["text_embedding"], expected["text_embedding"], atol=1e-4)
    np.testing.assert_allclose(result["scores"], expected["scores"], rtol=1e-4)


@builtin_only
@pytest.mark.parametrize("pooler_type", ["cls", "avg", "avg_top2", "avg_first_last"])
@pytest.mark.parametrize("normalize", [False, True])
def test_poolers_are_those_of_the_builtin(builtin_folder: Path, pooler_type: str, normalize: bool) -> None:
    import torch
    from modelscope.models import Model

    from modelscope_plugin.modelscope_adapter.models import EntityEmbeddingModel

    settings = {"emb_pooler_type": pooler_type, "normalize": normalize}
    batch = {
        "input_ids": torch.tensor([[2, 9, 8, 3], [2, 9, 3, 0]]),
        "attention_mask": torch.tensor([[1] * 4, [1, 1, 1, 0]]),
    }
    with torch.no_grad():
        # Two of its poolers fail unless the caller asks for all states.
        builtin = Model.from_pretrained(str(builtin_folder), **settings).eval()
        expected = builtin(query=batch | {"output_hidden_states": True}).query_embeddings
        result = EntityEmbeddingModel(str(builtin_folder), **settings).eval()(query=batch).query_embeddings
    torch.testing.assert_close(result, expected, atol=1e-5, rtol=1e-5)


@without_builtin
def test_other_models_of_the_builtin_names_keep_the_builtin_classes(builtin_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bloom"
    shutil.copytree(builtin_folder, folder)
    configuration = json.loads((folder / "configuration.json").read_text())
    configuration["model"]["type"] = "bloom"
    (folder / "configuration.json").write_text(json.dumps(configuration))
    kept = type(Preprocessor.from_pretrained(str(folder)))
    assert kept.__module__ == "modelscope.preprocessors.nlp.sentence_embedding_preprocessor"
    assert type(Preprocessor.from_pretrained(str(builtin_folder))).__module__.startswith("modelscope_plugin.")
