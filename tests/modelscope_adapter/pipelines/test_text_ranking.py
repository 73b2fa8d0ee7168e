from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ENTITIES
from modelscope.models import Model
from modelscope.msdatasets import MsDataset
from modelscope.pipelines import pipeline
from modelscope.preprocessors import Preprocessor
from modelscope.utils.constant import Tasks

import modelscope_plugin  # noqa: F401  (registers the plugin)
from modelscope_plugin.data import entity_text
from modelscope_plugin.encoding.cross_encoder import CrossEncoder
from modelscope_plugin.errors import InputError, InputTypeError, ModelFolderError

SOURCES = ["小品里 [ENT_S] 大鹏 [ENT_E] 很好笑", "坐船沿长江到上海"]
CANDIDATES = [entity_text(entity) for entity in ENTITIES]
REQUEST = {"source_sentence": SOURCES, "sentences_to_compare": CANDIDATES}


@pytest.fixture(scope="module")
def pipe(cross_encoder_folder: Path) -> Any:
    return pipeline(Tasks.text_ranking, model=str(cross_encoder_folder), device="cpu")


def _expected(folder: Path, sources: list[Any], candidates: list[str]) -> np.ndarray:
    """The logistic function of the scores of the cross encoder."""
    scorer = CrossEncoder.from_pretrained(folder, device="cpu")
    logits = scorer.predict([(source, text) for source in sources for text in candidates]).astype(np.float64)
    return 1 / (1 + np.exp(-logits.reshape(len(sources), len(candidates))))


def test_several_sources_give_a_list_of_scores_for_each(pipe: Any, cross_encoder_folder: Path) -> None:
    result = pipe(REQUEST)
    assert set(result) == {"scores"}
    np.testing.assert_allclose(result["scores"], _expected(cross_encoder_folder, SOURCES, CANDIDATES), rtol=1e-5)


def test_one_source_gives_a_flat_list(pipe: Any) -> None:
    scores = pipe({"source_sentence": SOURCES[:1], "sentences_to_compare": CANDIDATES})["scores"]
    assert [type(score) for score in scores] == [float] * len(CANDIDATES)
    assert all(0 < score < 1 for score in scores)


@pytest.mark.parametrize(
    "value",
    [
        {"source_sentence": SOURCES[0], "sentences_to_compare": CANDIDATES[0]},
        (SOURCES[0], CANDIDATES[0]),
        {
            "source_sentence": {"text": "小品里大鹏很好笑", "start": 3, "end": 5},
            "sentences_to_compare": [CANDIDATES[0]],
        },
    ],
)
def test_other_forms_of_one_pair_give_the_same(pipe: Any, value: Any) -> None:
    expected = pipe({"source_sentence": SOURCES[:1], "sentences_to_compare": CANDIDATES[:1]})
    assert pipe(value)["scores"] == pytest.approx(expected["scores"], rel=1e-5)


@pytest.mark.parametrize(
    "value",
    [
        {"source_sentence": [], "sentences_to_compare": []},
        {"source_sentence": [], "sentences_to_compare": CANDIDATES},
        {"source_sentence": SOURCES, "sentences_to_compare": None},
        {"source_sentence": SOURCES},
        "大鹏",
    ],
)
def test_no_pair_gives_no_scores(pipe: Any, value: Any) -> None:
    assert pipe(value) == {"scores": []}


def test_list_of_inputs_gives_a_list_of_results_whatever_the_batches(pipe: Any) -> None:
    inputs = [REQUEST, {"source_sentence": []}, {"source_sentence": SOURCES[1], "sentences_to_compare": CANDIDATES[2:]}]
    alone = [pipe(value)["scores"] for value in inputs]
    for batch_size in (None, 1, 3):
        for found, expected in zip(pipe(inputs, batch_size=batch_size), alone, strict=True):
            np.testing.assert_allclose(found["scores"], expected, rtol=1e-5)
    assert pipe([]) == []


def test_dataset_gives_an_iterator_of_results(pipe: Any) -> None:
    dataset = MsDataset.load([REQUEST, REQUEST])
    results = list(pipe(dataset))
    np.testing.assert_allclose([result["scores"] for result in results], [pipe(REQUEST)["scores"]] * 2, rtol=1e-5)


def test_scores_of_large_logits_are_finite(cross_encoder_folder: Path, tmp_path: Path) -> None:
    scorer = CrossEncoder.from_pretrained(cross_encoder_folder, device="cpu")
    for sign, expected in ((1, 1.0), (-1, 0.0)):
        with torch.no_grad():
            scorer.model.model.classifier.bias.fill_(sign * 2000.0)
        scorer.save_pretrained(tmp_path / "large")
        pipe = pipeline(Tasks.text_ranking, model=str(tmp_path / "large"), device="cpu")
        assert pipe((SOURCES[0], CANDIDATES[0])) == {"scores": [expected]}


@pytest.mark.parametrize("name", ["max_length", "sequence_length"])
def test_either_name_sets_the_window(cross_encoder_folder: Path, name: str) -> None:
    pipe = pipeline(Tasks.text_ranking, model=str(cross_encoder_folder), device="cpu", **{name: 30})
    assert pipe.cross_encoder.max_length == 30


@pytest.mark.parametrize(
    ("value", "keywords", "error", "message"),
    [
        ({"sentences_to_compare": ["a"]}, {}, InputTypeError, "no 'source_sentence'"),
        ({"source_sentence": ["a"], "sentences_to_compare": [None]}, {}, InputTypeError, r"sentences_to_compare\[0\]"),
        ([REQUEST, {"source_sentence": "[ENT_S]a"}], {}, InputError, "input 1: "),
        (REQUEST, {"top_k": 3}, InputTypeError, "unknown keyword 'top_k'"),
        (REQUEST, {"batch_size": 0}, InputError, "batch_size=0"),
    ],
)
def test_bad_inputs_raise(pipe: Any, value: Any, keywords: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        pipe(value, **keywords)


def test_folder_of_a_dual_encoder_raises(model_folder: Path) -> None:
    with pytest.raises(ModelFolderError, match="has no head that scores pairs"):
        pipeline(Tasks.text_ranking, model=str(model_folder), pipeline_name="entity-cross-encoder", device="cpu")


def test_model_and_preprocessor_load_through_modelscope(cross_encoder_folder: Path, pipe: Any) -> None:
    model = Model.from_pretrained(str(cross_encoder_folder), device="cpu").eval()
    preprocessor = Preprocessor.from_pretrained(str(cross_encoder_folder))
    batch = preprocessor(REQUEST)
    assert batch["input_ids"].shape[0] == len(SOURCES) * len(CANDIDATES)
    assert preprocessor({"source_sentence": SOURCES}) == {}
    with torch.no_grad():
        logits = model(**batch).logits
    expected = np.array(pipe(REQUEST)["scores"]).reshape(-1, 1)
    np.testing.assert_allclose(logits.sigmoid().numpy(), expected, rtol=1e-5)
    loaded = pipeline(Tasks.text_ranking, model=model, preprocessor=preprocessor)
    np.testing.assert_allclose(loaded(REQUEST)["scores"], pipe(REQUEST)["scores"], rtol=1e-5)


def test_loss_of_training_has_each_positive_before_its_negatives(cross_encoder_folder: Path) -> None:
    model = Model.from_pretrained(str(cross_encoder_folder), device="cpu", neg_sample=2)
    model.cross_encoder.eval()
    batch = Preprocessor.from_pretrained(str(cross_encoder_folder))(REQUEST)
    model.training = True
    output = model(**batch)
    groups = output.logits.view(-1, 3)
    expected = -(groups.log_softmax(1)[:, 0]).mean()
    torch.testing.assert_close(output.loss, expected)


def test_saved_model_opens_again(cross_encoder_folder: Path, tmp_path: Path, pipe: Any) -> None:
    copy = Path(shutil.copytree(cross_encoder_folder, tmp_path / "copy"))
    model = Model.from_pretrained(str(copy), device="cpu")
    model.save_pretrained(str(tmp_path / "saved"))
    assert json.loads((tmp_path / "saved" / "configuration.json").read_text())["task"] == "text-ranking"
    again = pipeline(Tasks.text_ranking, model=str(tmp_path / "saved"), device="cpu")
    np.testing.assert_allclose(again(REQUEST)["scores"], pipe(REQUEST)["scores"], rtol=1e-5)
