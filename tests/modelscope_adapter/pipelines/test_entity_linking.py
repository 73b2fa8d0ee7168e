from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ENTITIES, MENTIONS, write_cross_encoder
from modelscope.pipelines import pipeline

import modelscope_plugin  # noqa: F401  (registers the plugin)
from modelscope_plugin.data.views import ViewSettings, entity_views
from modelscope_plugin.encoding import EntityEncoder
from modelscope_plugin.errors import IndexMismatchError, InputError, InputTypeError, MissingFileError
from modelscope_plugin.linking.nil import NilRule
from modelscope_plugin.retrieval import EntityIndex
from modelscope_plugin.retrieval.building import build_index

TEXT = "小品里大鹏很好笑，苹果也好吃"
TEXT_MARKED = "小品里 [ENT_S] 大鹏 [ENT_E] 很好笑"


@pytest.fixture(scope="module")
def pipe(model_folder: Path, index_folder: Path) -> Any:
    return pipeline("entity-linking", model=str(model_folder), index=str(index_folder), device="cpu", retrieval="dense")


def test_names_are_looked_at_by_default(model_folder: Path, index_folder: Path) -> None:
    linker = pipeline("entity-linking", model=str(model_folder), index=str(index_folder), device="cpu")
    found = linker({"text": "小品里大鵬很好笑", "start": 3, "end": 5}, top_k=3)["mentions"][0]["candidates"]
    assert {(one["id"], one["match"]) for one in found[:2]} == {("dapeng", "normalized"), ("roc", "normalized")}
    assert "match" not in found[2]


def test_what_has_no_entity_is_said(model_folder: Path, index_folder: Path) -> None:
    index = EntityIndex.load(index_folder)
    options = {"model": str(model_folder), "device": "cpu", "retrieval": "lexical"}
    linked = pipeline("entity-linking", index=index, **options)("[ENT_S] 宋小宝 [ENT_E] 很好笑")["mentions"][0]
    assert (linked["nil"], linked["nil_reason"], linked["candidates"]) == (True, "no candidate", [])
    index.fitted = index.fitted.with_nil(NilRule("lexical", 0.0, 4.0, -2.0, 0.5))
    text = {"text": "大鹏在大江", "mentions": [{"start": 0, "end": 2}, {"start": 3, "end": 5}]}
    exact, near = pipeline("entity-linking", index=index, **options)(text)["mentions"]
    assert (exact["nil"], near["nil"]) == (False, True)
    assert "below the threshold 0.500" in near["nil_reason"]
    assert near["candidates"]
    near = pipeline("entity-linking", index=index, nil_threshold=0.1, **options)(text)["mentions"][1]
    assert not near["nil"]


def test_candidates_are_those_of_the_dot_product(pipe: Any, encoder: EntityEncoder) -> None:
    result = pipe({"text": MENTIONS[3].text, "start": 3, "end": 5}, top_k=6)
    scores = encoder.encode_document(ENTITIES) @ encoder.encode_query([MENTIONS[3]])[0]
    order = np.argsort(-scores, kind="stable")
    candidates = result["mentions"][0]["candidates"]
    assert [candidate["id"] for candidate in candidates] == [ENTITIES[row].id for row in order]
    assert [candidate["rank"] for candidate in candidates] == [1, 2, 3, 4, 5, 6]
    np.testing.assert_allclose([candidate["score"] for candidate in candidates], scores[order], rtol=1e-5)


def test_result_says_where_each_mention_stands(pipe: Any) -> None:
    result = pipe({"text": TEXT, "mentions": [{"start": 3, "end": 5}, {"start": 9, "end": 11}]}, top_k=1)
    assert result["text"] == TEXT
    assert [(m["mention"], m["start"], m["end"], len(m["candidates"])) for m in result["mentions"]] == [
        ("大鹏", 3, 5, 1),
        ("苹果", 9, 11, 1),
    ]


def test_marked_text_offsets_count_without_markers(pipe: Any) -> None:
    result = pipe("小品里 [ENT_S] 大鹏 [ENT_E] 很好笑")
    assert (result["text"], result["mentions"][0]["start"], result["mentions"][0]["end"]) == ("小品里大鹏很好笑", 3, 5)


def test_ccks_record_is_linked_with_its_id(pipe: Any) -> None:
    record = {"text_id": "7", "text": TEXT, "mention_data": [{"mention": "大鹏", "offset": "3"}]}
    result = pipe(record)
    assert (result["text_id"], result["mentions"][0]["mention"]) == ("7", "大鹏")


@pytest.mark.parametrize("batch_size", [1, 100])
def test_list_gives_what_single_calls_give(pipe: Any, batch_size: int) -> None:
    inputs = ["[ENT_S]大鹏[ENT_E]飞", {"text": TEXT, "mentions": []}, {"text": TEXT, "start": 3, "end": 5}]
    together = pipe(inputs, batch_size=batch_size)
    for one, value in zip(together, inputs, strict=True):
        alone = pipe(value)
        assert json.loads(json.dumps(one)).keys() == alone.keys()
        assert [[c["id"] for c in m["candidates"]] for m in one["mentions"]] == [
            [c["id"] for c in m["candidates"]] for m in alone["mentions"]
        ]


def test_text_without_mentions_gives_none(pipe: Any) -> None:
    assert pipe({"text": TEXT, "mentions": []}) == {"text": TEXT, "mentions": []}


def test_index_object_is_taken(model_folder: Path, index: EntityIndex) -> None:
    pipe = pipeline("entity-linking", model=str(model_folder), index=index, device="cpu", top_k=2)
    assert len(pipe("[ENT_S]大鹏[ENT_E]")["mentions"][0]["candidates"]) == 2


def test_builtin_configuration_is_linked_too(builtin_folder: Path, tmp_path: Path) -> None:
    from modelscope_plugin.retrieval.building import build_index

    encoder = EntityEncoder.from_pretrained(builtin_folder, device="cpu")
    build_index(encoder, ENTITIES, show_progress_bar=False).save(tmp_path / "index")
    pipe = pipeline("entity-linking", model=str(builtin_folder), index=str(tmp_path / "index"), device="cpu")
    assert len(pipe("[ENT_S]大鹏[ENT_E]")["mentions"][0]["candidates"]) == 6


def test_without_index_raises(model_folder: Path) -> None:
    with pytest.raises(InputError, match=r"no index is given, and there is none in .*; give index=FOLDER"):
        pipeline("entity-linking", model=str(model_folder), device="cpu")


def test_index_of_another_model_raises(model_folder: Path, index_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "other"
    shutil.copytree(model_folder, folder)
    configuration = json.loads((folder / "configuration.json").read_text())
    configuration["model"]["emb_pooler_type"] = "avg"
    (folder / "configuration.json").write_text(json.dumps(configuration))
    with pytest.raises(IndexMismatchError, match="the index was built with another model"):
        pipeline("entity-linking", model=str(folder), index=str(index_folder), device="cpu")


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        ("没有标记", InputError, "no mention in"),
        ({"text": "没有标记"}, InputError, "no mention in"),
        ({"text": TEXT, "mentions": [{"start": 3, "end": 99}]}, InputError, "lie outside the text"),
        ({"text": TEXT, "mentions": [{"mention": "苹果", "offset": 3}]}, InputError, "is not at offset 3"),
        ({"text": TEXT, "mentions": [{"start": 3, "end": 3}]}, InputError, "empty mention"),
        ("[ENT_S]大鹏[ENT_E]和[ENT_S]苹果[ENT_E]", InputError, "mark exactly one mention"),
        (3, InputTypeError, "a text or a dict is needed"),
    ],
)
def test_bad_input_raises(pipe: Any, value: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        pipe(value)


def test_bad_top_k_raises(pipe: Any) -> None:
    with pytest.raises(InputError, match="top_k=-1 must be an integer of at least 1"):
        pipe("[ENT_S]大鹏[ENT_E]", top_k=-1)


def test_top_k_of_none_is_the_default(model_folder: Path, index: EntityIndex) -> None:
    pipe = pipeline("entity-linking", model=str(model_folder), index=index, device="cpu", top_k=None)
    assert len(pipe("[ENT_S]大鹏[ENT_E]", top_k=None)["mentions"][0]["candidates"]) == 6


@pytest.mark.parametrize("keyword", ["top_k", "batch_size"])
@pytest.mark.parametrize("value", [np.array([1, 2]), [1], "1", 1.0, True, b"1"])
def test_keyword_of_a_wrong_type_is_named(pipe: Any, keyword: str, value: Any) -> None:
    with pytest.raises(InputTypeError, match=f"{keyword}=.* must be an integer of at least 1"):
        pipe("[ENT_S]大鹏[ENT_E]", **{keyword: value})


def test_candidates_of_an_index_with_views_say_which_view_won(encoder: EntityEncoder, model_folder: Path) -> None:
    index = build_index(encoder, ENTITIES, views=ViewSettings(4))
    result = pipeline("entity-linking", model=str(model_folder), index=index, device="cpu")(TEXT_MARKED, top_k=6)
    for candidate in result["mentions"][0]["candidates"]:
        entity = next(one for one in ENTITIES if one.id == candidate["id"])
        vectors = encoder.encode_document(entity_views(entity, 4))
        scores = vectors @ encoder.encode_query([TEXT_MARKED])[0]
        assert candidate["view"] == entity_views(entity, 4)[int(scores.argmax())]
        assert candidate["dense_score"] == pytest.approx(scores.max(), rel=1e-5)


@pytest.mark.parametrize("top_k", [0, -1, "3"])
def test_number_of_candidates_is_checked_when_the_pipeline_is_made(
    top_k: Any, model_folder: Path, index_folder: Path
) -> None:
    with pytest.raises(ValueError, match=r"top_k=.* must be an integer of at least 1"):
        pipeline("entity-linking", model=str(model_folder), index=str(index_folder), device="cpu", top_k=top_k)


def test_pipeline_cannot_be_pickled(pipe: Any) -> None:
    with pytest.raises(InputTypeError, match="make one in each process"):
        pickle.dumps(pipe)


def test_a_reranker_is_named_by_the_call_or_by_the_configuration(
    model_folder: Path, index_folder: Path, base_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(model_folder, folder)
    write_cross_encoder(base_folder, folder / "reranker")
    options = {"index": str(index_folder), "device": "cpu"}
    named = pipeline("entity-linking", model=str(model_folder), reranker=str(folder / "reranker"), **options)
    path = folder / "configuration.json"
    configuration = json.loads(path.read_text(encoding="utf-8"))
    configuration["pipeline"] |= {"reranker": "reranker", "rerank_top_k": 2}
    path.write_text(json.dumps(configuration), encoding="utf-8")
    configured = pipeline("entity-linking", model=str(folder), **options)
    without = pipeline("entity-linking", model=str(folder), reranker="none", **options)
    own = pipeline("entity-linking", model=str(folder), reranker=named.linker.reranker, rerank_top_k=1, **options)
    read = []
    for linker in (named, configured, without, own):
        candidates = linker(TEXT_MARKED, top_k=4)["mentions"][0]["candidates"]
        read.append([one["id"] for one in candidates if "rerank_score" in one])
    assert [len(ids) for ids in read] == [4, 2, 0, 1]
    assert own.linker.reranker is named.linker.reranker


def test_a_reranker_that_is_not_there_is_named(model_folder: Path, index_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="there is no model folder"):
        pipeline("entity-linking", model=str(model_folder), index=str(index_folder), reranker=str(tmp_path / "no"))
