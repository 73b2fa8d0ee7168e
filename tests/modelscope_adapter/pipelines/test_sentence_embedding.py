from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from modelscope.models import Model
from modelscope.msdatasets import MsDataset
from modelscope.pipelines import pipeline
from modelscope.utils.constant import Tasks

import modelscope_plugin  # noqa: F401  (registers the plugin)
from modelscope_plugin.errors import InputError, InputTypeError, MissingFileError

SOURCES = ["小品里 [ENT_S] 大鹏 [ENT_E] 很好笑", "坐船沿长江到上海"]
CANDIDATES = ["董成鹏； 类型： Person;", "长江； 类型： Location;", "苹果;"]


@pytest.fixture(scope="module")
def pipe(model_folder: Path) -> Any:
    return pipeline(Tasks.sentence_embedding, model=str(model_folder), device="cpu")


def test_several_sources_give_a_list_of_scores_for_each(pipe: Any) -> None:
    result = pipe({"source_sentence": SOURCES, "sentences_to_compare": CANDIDATES})
    vectors = result["text_embedding"]
    assert vectors.shape == (5, 64)
    np.testing.assert_allclose(result["scores"], vectors[:2] @ vectors[2:].T, rtol=1e-5)


def test_one_source_gives_a_flat_list(pipe: Any) -> None:
    scores = pipe({"source_sentence": SOURCES[:1], "sentences_to_compare": CANDIDATES})["scores"]
    assert [type(score) for score in scores] == [float] * 3


def test_sources_alone_give_no_scores(pipe: Any) -> None:
    result = pipe({"source_sentence": SOURCES})
    assert (result["text_embedding"].shape, result["scores"]) == ((2, 64), [])


@pytest.mark.parametrize(
    ("value", "rows"),
    [
        ({"source_sentence": [], "sentences_to_compare": []}, 0),
        ({"source_sentence": []}, 0),
        ({"source_sentence": [], "sentences_to_compare": CANDIDATES}, 3),
        ({"source_sentence": SOURCES, "sentences_to_compare": None}, 2),
    ],
)
def test_empty_input_gives_empty_output(pipe: Any, value: Any, rows: int) -> None:
    result = pipe(value)
    assert (result["text_embedding"].shape, result["scores"]) == ((rows, 64), [])


def test_empty_list_gives_empty_list(pipe: Any) -> None:
    assert pipe([]) == []


def test_plain_strings_are_taken_for_lists_of_one(pipe: Any) -> None:
    plain = pipe({"source_sentence": SOURCES[0], "sentences_to_compare": CANDIDATES[0]})
    listed = pipe({"source_sentence": SOURCES[:1], "sentences_to_compare": CANDIDATES[:1]})
    np.testing.assert_allclose(plain["text_embedding"], listed["text_embedding"], atol=1e-6)
    assert len(plain["scores"]) == 1


def test_offsets_and_markers_give_the_same_vector(pipe: Any) -> None:
    offsets = [
        {"text": "小品里大鹏很好笑", "start": 3, "end": 5},
        {"text": "小品里大鹏很好笑", "mention": "大鹏", "offset": "3"},
    ]
    vectors = pipe({"source_sentence": [SOURCES[0], *offsets]})["text_embedding"]
    np.testing.assert_array_equal(vectors[1], vectors[0])
    np.testing.assert_array_equal(vectors[2], vectors[0])


@pytest.mark.parametrize("batch_size", [None, 1, 2, 100])
def test_lists_give_what_single_calls_give(pipe: Any, batch_size: int | None) -> None:
    requests = [
        {"source_sentence": SOURCES, "sentences_to_compare": CANDIDATES},
        {"source_sentence": []},
        {"source_sentence": SOURCES[:1], "sentences_to_compare": CANDIDATES[:1]},
    ]
    for together, request in zip(pipe(requests, batch_size=batch_size), requests, strict=True):
        alone = pipe(request)
        np.testing.assert_allclose(together["text_embedding"], alone["text_embedding"], atol=1e-5)
        np.testing.assert_allclose(np.ravel(together["scores"]), np.ravel(alone["scores"]), rtol=1e-4)


def test_msdataset_gives_an_iterator(pipe: Any) -> None:
    dataset = MsDataset.from_records([{"source_sentence": SOURCES}] * 3) if hasattr(MsDataset, "from_records") else None
    if dataset is None:
        from datasets import Dataset

        dataset = MsDataset(Dataset.from_list([{"source_sentence": SOURCES}] * 3))
    assert [result["text_embedding"].shape for result in pipe(dataset)] == [(2, 64)] * 3


def test_model_object_is_used_as_it_is(model_folder: Path, pipe: Any) -> None:
    model = Model.from_pretrained(str(model_folder), device="cpu")
    other = pipeline(Tasks.sentence_embedding, model=model, device="cpu")
    assert other.model is model
    np.testing.assert_array_equal(other("大鹏")["text_embedding"], pipe("大鹏")["text_embedding"])


def test_sequence_length_sets_the_window(model_folder: Path) -> None:
    pipe = pipeline(Tasks.sentence_embedding, model=str(model_folder), device="cpu", sequence_length=16)
    assert pipe.preprocessor.tokenizer.max_length == 16


def test_two_tower_folder_encodes_each_side_with_its_own(base_folder: Path, tmp_path: Path) -> None:
    import torch

    from modelscope_plugin.modeling.checkpoint_files import load_entity_tokenizer
    from modelscope_plugin.modeling.dual_encoder import DualEncoder
    from modelscope_plugin.modeling.model_folder import write_model_folder

    model = DualEncoder.from_pretrained(base_folder)
    model.separate_towers()
    with torch.no_grad():
        model.entity_tower.get_input_embeddings().weight.mul_(-1)
    write_model_folder(tmp_path, model, load_entity_tokenizer(base_folder))
    pipe = pipeline(Tasks.sentence_embedding, model=str(tmp_path), device="cpu")
    vectors = pipe({"source_sentence": ["苹果"], "sentences_to_compare": ["苹果"]})["text_embedding"]
    assert not np.allclose(vectors[0], vectors[1], atol=1e-2)


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        ({"source_sentence": ["[ENT_S] a"]}, InputError, r"source_sentence\[0\]: 1 \[ENT_S\] and 0 \[ENT_E\]"),
        ({"source_sentence": ["a", "[ENT_E]b[ENT_S]"]}, InputError, r"source_sentence\[1\].*is before"),
        ({"source_sentence": [3]}, InputTypeError, r"source_sentence\[0\] must be a text"),
        ({"source_sentence": ["a"], "sentences_to_compare": [None]}, InputTypeError, r"sentences_to_compare\[0\]"),
        ({"sentences_to_compare": ["a"]}, InputTypeError, "no 'source_sentence'"),
        ({"source_sentence": ["a"], "candidates": ["b"]}, InputTypeError, "unknown key 'candidates'"),
        ({"source_sentence": [{"text": "大鹏", "start": 1, "end": 9}]}, InputError, "lie outside the text"),
        (7, InputTypeError, "a text or a list of texts is needed"),
    ],
)
def test_bad_input_is_named_with_its_position(pipe: Any, value: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        pipe(value)


def test_bad_input_in_a_list_is_numbered(pipe: Any) -> None:
    with pytest.raises(InputError, match=r"input 1: source_sentence\[0\]"):
        pipe(["大鹏", "[ENT_S] 大鹏"])


def test_numpy_input_is_taken(pipe: Any) -> None:
    result = pipe({"source_sentence": np.array(SOURCES)}, batch_size=np.int64(1))
    np.testing.assert_allclose(
        result["text_embedding"], pipe({"source_sentence": SOURCES})["text_embedding"], atol=1e-5
    )


@pytest.mark.parametrize("length", [np.array([16, 32]), 0, "16"])
def test_window_of_a_wrong_length_is_named(model_folder: Path, length: Any) -> None:
    with pytest.raises(InputError, match=r"max_length=.* must be an integer of at least 1"):
        pipeline(Tasks.sentence_embedding, model=str(model_folder), device="cpu", sequence_length=length)


def test_unknown_call_keyword_names_the_known_ones(pipe: Any) -> None:
    with pytest.raises(InputTypeError, match=r"unknown keyword 'top' in the call; there are batch_size"):
        pipe("大鹏", top=1)


def test_missing_folder_raises() -> None:
    from modelscope_plugin.modelscope_adapter.pipelines.sentence_embedding import EntityEmbeddingPipeline

    with pytest.raises(MissingFileError, match="there is no model folder"):
        EntityEmbeddingPipeline(model="/no/such/folder")


def test_foreign_model_object_raises() -> None:
    from modelscope_plugin.modelscope_adapter.pipelines.sentence_embedding import EntityEmbeddingPipeline

    with pytest.raises(InputTypeError, match="not object"):
        EntityEmbeddingPipeline(model=object())  # type: ignore[arg-type]


def test_backend_of_the_pipeline_computes(model_folder: Path, pipe: Any) -> None:
    half = pipeline(Tasks.sentence_embedding, model=str(model_folder), device="cpu", dtype="bfloat16")
    request = {"source_sentence": SOURCES}
    difference = np.abs(half(request)["text_embedding"] - pipe(request)["text_embedding"]).max()
    assert 1e-4 < difference < 0.2


def test_onnx_pipeline_runs_on_the_cpu(model_folder: Path, pipe: Any, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    folder = shutil.copytree(model_folder, tmp_path / "model")
    onnx = pipeline(Tasks.sentence_embedding, model=str(folder), backend="onnx")
    request = {"source_sentence": SOURCES, "sentences_to_compare": CANDIDATES}
    np.testing.assert_allclose(onnx(request)["text_embedding"], pipe(request)["text_embedding"], atol=1e-5)


def test_unknown_backend_raises(model_folder: Path) -> None:
    with pytest.raises(InputError, match="unknown backend 'jax'"):
        pipeline(Tasks.sentence_embedding, model=str(model_folder), device="cpu", backend="jax")
