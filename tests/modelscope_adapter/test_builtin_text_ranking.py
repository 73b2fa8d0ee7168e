"""Text-ranking folders with the built-in configuration.json, against the built-in pipeline where that runs."""

from __future__ import annotations

import importlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from modelscope.models import Model
from modelscope.pipelines import pipeline
from modelscope.preprocessors import Preprocessor
from modelscope.utils.constant import Tasks
from safetensors.torch import load_file

import modelscope_plugin  # noqa: F401  (registers the plugin)

SOURCE = ["宋小宝小品《美人鱼》，大鹏上演生死离别，关键时刻美人鱼登场"]
CANDIDATES = ["董成鹏； 类型： Person； 别名： Da Peng， 大鹏;", "大鹏； 类型： Other;", "苹果", ""]
REQUEST = {"source_sentence": SOURCE, "sentences_to_compare": CANDIDATES}
LONG = {"source_sentence": ["大鹏" * 100], "sentences_to_compare": ["苹果" * 200, "苹果"]}


def _builtin_runs() -> bool:
    try:
        importlib.import_module("modelscope.models.nlp.bert.backbone")
    except (ImportError, AttributeError):
        return False
    return True


builtin_only = pytest.mark.skipif(
    not _builtin_runs(), reason="the built-in model cannot be imported with this transformers"
)
without_builtin = pytest.mark.skipif(_builtin_runs(), reason="the built-in model runs with this transformers and stays")


@pytest.fixture(scope="module")
def folder(cross_encoder_folder: Path, unmarked_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as the hub has it: built-in types, a ``pytorch_model.bin`` with ``bert.`` keys, ``vocab.txt`` alone."""
    target = tmp_path_factory.mktemp("builtin-ranking")
    torch.save(load_file(cross_encoder_folder / "model.safetensors"), target / "pytorch_model.bin")
    shutil.copy(unmarked_folder / "vocab.txt", target)
    config = json.loads((unmarked_folder / "config.json").read_text())
    del config["architectures"]
    (target / "config.json").write_text(json.dumps(config), encoding="utf-8")
    configuration = {
        "framework": "pytorch",
        "task": "text-ranking",
        "model": {"type": "bert"},
        "pipeline": {"type": "text-ranking"},
        "preprocessor": {"type": "text-ranking"},
    }
    (target / "configuration.json").write_text(json.dumps(configuration), encoding="utf-8")
    return target


@pytest.fixture(scope="module")
def ours(folder: Path) -> Any:
    return pipeline(Tasks.text_ranking, model=str(folder), pipeline_name="entity-cross-encoder", device="cpu")


@pytest.fixture(scope="module")
def named(folder: Path) -> Any:
    """The pipeline that the folder's configuration.json names."""
    return pipeline(Tasks.text_ranking, model=str(folder), device="cpu")


def test_folder_runs_by_its_own_names(named: Any) -> None:
    scores = named(REQUEST)["scores"]
    assert len(scores) == 4
    assert np.ptp(scores) > 1e-4


@pytest.mark.parametrize("value", [REQUEST, LONG])
def test_numbers_are_those_of_the_formula(ours: Any, folder: Path, value: Any) -> None:
    """What the built-in pipeline computes, written out: 128 tokens, the longer text cut first, a logistic function."""
    from transformers import BertForSequenceClassification, BertTokenizerFast

    plain = BertForSequenceClassification.from_pretrained(folder, num_labels=1).eval()
    candidates = value["sentences_to_compare"]
    inputs = BertTokenizerFast.from_pretrained(folder)(
        value["source_sentence"] * len(candidates),
        candidates,
        padding="max_length",
        truncation=True,
        max_length=128,
        return_tensors="pt",
    )
    with torch.no_grad():
        expected = plain(**inputs).logits[:, 0].sigmoid()
    np.testing.assert_allclose(ours(value)["scores"], expected.numpy(), rtol=1e-5)


@builtin_only
@pytest.mark.parametrize("value", [REQUEST, LONG])
def test_numbers_are_those_of_the_builtin(ours: Any, named: Any, value: Any) -> None:
    expected, result = named(value), ours(value)
    assert set(result) == set(expected)
    np.testing.assert_allclose(result["scores"], expected["scores"], rtol=1e-5)


@builtin_only
def test_loss_is_that_of_the_builtin(folder: Path) -> None:
    from modelscope_plugin.modelscope_adapter.cross_encoder import EntityCrossEncoderModel

    batch = {
        "input_ids": torch.randint(5, 40, (10, 8)),
        "attention_mask": torch.ones(10, 8, dtype=torch.int64),
        "token_type_ids": torch.zeros(10, 8, dtype=torch.int64),
    }
    losses = []
    for model in (Model.from_pretrained(str(folder)), EntityCrossEncoderModel(str(folder))):
        model.train()
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        losses.append(model(**batch).loss.item())
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


@builtin_only
def test_builtin_names_stay_where_the_builtin_runs(named: Any) -> None:
    assert type(named).__module__ == "modelscope.pipelines.nlp.text_ranking_pipeline"


@without_builtin
def test_builtin_names_are_taken_over_where_the_builtin_cannot_run(named: Any, folder: Path) -> None:
    assert type(named).__module__.startswith("modelscope_plugin.")
    assert type(Model.from_pretrained(str(folder))).__module__.startswith("modelscope_plugin.")
    several = named({"source_sentence": SOURCE * 2, "sentences_to_compare": CANDIDATES})["scores"]
    assert np.shape(several) == (2, 4)


@without_builtin
def test_other_models_of_the_builtin_names_keep_the_builtin_classes(folder: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    configuration = json.loads((other / "configuration.json").read_text())
    configuration["model"]["type"] = "structbert"
    (other / "configuration.json").write_text(json.dumps(configuration))
    kept = type(Preprocessor.from_pretrained(str(other)))
    assert kept.__module__ == "modelscope.preprocessors.nlp.text_ranking_preprocessor"
    assert type(Preprocessor.from_pretrained(str(folder))).__module__.startswith("modelscope_plugin.")
