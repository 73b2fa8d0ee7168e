from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from modelscope.pipelines import pipeline

from modelscope_plugin.data import Document, Entity, Mention
from modelscope_plugin.errors import InputError, InputTypeError
from modelscope_plugin.linking.detection.detectors import make_detector, with_detected
from modelscope_plugin.linking.linker import EntityLinker
from modelscope_plugin.retrieval import EntityIndex

TEXT = "小品里大鹏很好笑，苹果也好吃"


def surfaces(found: Any, text: str = TEXT) -> list[str]:
    return [mention.surface for mention in with_detected(Document(text, ()), lambda _: found).mentions]


@pytest.mark.parametrize(
    "found",
    [
        [(3, 5), (9, 11)],
        [{"start": 9, "end": 11, "type": "FOOD", "span": "苹果"}, {"start": 3, "end": 5}],
        {"output": [{"start": 3, "end": 5, "type": "PER", "span": "大鹏"}, {"start": 9, "end": 11}]},
    ],
)
def test_spans_come_in_any_form(found: Any) -> None:
    assert surfaces(found) == ["大鹏", "苹果"]


def test_of_overlapping_spans_the_longest_stays() -> None:
    assert surfaces([(3, 5), (4, 7), (9, 11), (9, 11)]) == ["鹏很好", "苹果"]


def test_own_spans_win() -> None:
    own = Document(TEXT, (Mention(TEXT, 0, 2),))
    assert with_detected(own, lambda _: [(3, 5)]) == own


def test_a_text_without_characters_is_not_looked_at() -> None:
    assert surfaces([(0, 1)], " ") == []


@pytest.mark.parametrize(
    ("found", "error"), [([(3, 99)], InputError), (["x"], InputTypeError), ("x", InputTypeError), ({}, InputTypeError)]
)
def test_what_is_no_span_is_named(found: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="span"):
        surfaces(found)


def test_detectors_are_named(index: EntityIndex) -> None:
    assert make_detector(None, index) is None
    assert make_detector(surfaces, index) is surfaces
    with pytest.raises(InputError, match="'dictionary'"):
        make_detector("magic", index)
    with pytest.raises(InputTypeError):
        make_detector(5, index)  # type: ignore[arg-type]


def test_linking_needs_no_spans_with_a_detector(model_folder: Path, index_folder: Path) -> None:
    options = {"model": str(model_folder), "index": str(index_folder), "device": "cpu"}
    linker = pipeline("entity-linking", detector="dictionary", **options)
    inputs = [TEXT, {"text": TEXT}, "小品里 [ENT_S] 小品 [ENT_E] 大鹏", "无", {"text": TEXT, "mentions": []}]
    results = linker(inputs, top_k=1)
    assert [[mention["mention"] for mention in result["mentions"]] for result in results] == [
        ["大鹏", "苹果"], ["大鹏", "苹果"], ["小品"], [], [],
    ]  # fmt: skip
    own = pipeline("entity-linking", detector=lambda text: [(0, 2)], **options)(TEXT)
    assert [mention["mention"] for mention in own["mentions"]] == ["小品"]


def test_configuration_of_the_model_says_how_to_link(model_folder: Path, index_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(model_folder, tmp_path / "model")
    path = tmp_path / "model" / "configuration.json"
    configuration = json.loads(path.read_text(encoding="utf-8"))
    configuration["pipeline"] |= {"retrieval": "lexical", "detector": "dictionary"}
    path.write_text(json.dumps(configuration), encoding="utf-8")
    linker = EntityLinker.from_pretrained(tmp_path / "model", index_folder, device="cpu")
    assert linker.retriever.retrieval == "lexical"
    assert len(linker.link_documents([Document(TEXT, ())])[0]["mentions"]) == 2
    other = EntityLinker.from_pretrained(tmp_path / "model", index_folder, device="cpu", retrieval="dense")
    assert other.retriever.retrieval == "dense"


def test_dictionary_follows_the_names_of_the_index(index: EntityIndex) -> None:
    detector = make_detector("dictionary", index)
    assert detector is not None
    assert [TEXT[start:end] for start, end in detector(TEXT)] == ["大鹏", "苹果"]
    index.remove(["dapeng", "roc"])
    assert [TEXT[start:end] for start, end in detector(TEXT)] == ["苹果"]


def test_dictionary_knows_names_as_the_index_has_them_written(index: EntityIndex) -> None:
    index.add([Entity("node", "Node", ("Node.js",))], np.zeros((1, index.dimension), np.float32))
    detector, text = make_detector("dictionary", index), "用node.js写，不在node。js有"
    assert detector is not None
    assert [text[start:end] for start, end in detector(text)] == ["node.js", "node"]


@pytest.mark.parametrize("span", [{"start": None, "end": 2}, {"text": "x"}, ("a", "b"), "ab", ([1], [2]), 3])
def test_span_that_is_none_is_named(span: object) -> None:
    with pytest.raises(InputTypeError, match="a span must be"):
        with_detected(Document("苹果公司好", ()), lambda text: [span])
