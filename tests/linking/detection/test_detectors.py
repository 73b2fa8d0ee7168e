from __future__ import annotations

import re
from collections.abc import Sequence
from threading import Thread
from typing import Any

import numpy as np
import pytest
from modelscope.pipelines.base import Pipeline

from modelscope_plugin.data import Entity
from modelscope_plugin.errors import InputError, InputTypeError
from modelscope_plugin.linking.detection.detectors import DictionaryOptions, make_detector
from modelscope_plugin.linking.detection.protocol import Detector, Span
from modelscope_plugin.retrieval import EntityIndex

TEXT = "小品里大鹏很好笑，苹果也好吃"


def detect(detector: Any, index: EntityIndex, texts: list[str]) -> list[list[Span]]:
    made = make_detector(detector, index)
    assert isinstance(made, Detector)
    return made.detect(texts)


class Recogniser(Pipeline):
    """A ModelScope pipeline, as far as calling it goes, that finds the first two characters."""

    def __init__(self) -> None:
        self.inputs: list[Any] = []

    def __call__(self, input: Any, *args: Any, **kwargs: Any) -> Any:
        self.inputs.append(input)
        return [{"output": [{"type": "PER", "start": 0, "end": 2, "span": text[:2]}]} for text in input]


def test_none_is_no_detector(index: EntityIndex) -> None:
    assert make_detector(None, index) is None


def test_function_gets_one_text_at_a_time(index: EntityIndex) -> None:
    assert detect(lambda text: [{"start": 0, "end": len(text)}], index, ["大鹏", "苹果好"]) == [[(0, 2)], [(0, 3)]]


def test_modelscope_pipeline_gets_all_texts_in_one_call(index: EntityIndex) -> None:
    pipeline = Recogniser()
    assert detect(pipeline, index, ["大鹏飞", "苹果好"]) == [[(0, 2)], [(0, 2)]]
    assert pipeline.inputs == [["大鹏飞", "苹果好"]]


def test_modelscope_pipeline_that_returns_too_few_results_is_refused(index: EntityIndex) -> None:
    class Single(Recogniser):
        def __call__(self, input: Any, *args: Any, **kwargs: Any) -> Any:
            return {"output": []}

    with pytest.raises(InputTypeError, match="for each of 2 texts, not"):
        detect(Single(), index, ["大鹏飞", "苹果好"])


class LimitedRecogniser(Recogniser):
    """Finds 苹果, in what stands before the 510th character, and fails on a blank text, as ModelScope's do."""

    def __call__(self, input: Any, *args: Any, **kwargs: Any) -> Any:
        assert all(text.strip() for text in input)
        return [
            {"output": [{"start": one.start(), "end": one.end()} for one in re.finditer("苹果", text[:510])]}
            for text in input
        ]


@pytest.mark.parametrize("before", [0, 300, 383, 384, 400, 510, 3000])
def test_modelscope_pipeline_reads_long_texts_to_their_end(index: EntityIndex, before: int) -> None:
    text = "很" * before + "苹果" + "好" * 700
    assert detect(LimitedRecogniser(), index, ["", text, "\n \t"]) == [[], [(before, before + 2)], []]


def test_modelscope_pipeline_is_not_called_for_blank_texts(index: EntityIndex) -> None:
    pipeline = Recogniser()
    assert detect(pipeline, index, ["", " "]) == [[], []]
    assert pipeline.inputs == []


def test_object_with_a_method_detect_is_used_as_it_is(index: EntityIndex) -> None:
    class Own:
        def detect(self, texts: Sequence[str]) -> list[list[Span]]:
            return [[] for _ in texts]

        def __call__(self, text: str) -> None:
            raise AssertionError

    own = Own()
    assert make_detector(own, index) is own


def test_unknown_detector_names_the_known_ones(index: EntityIndex) -> None:
    with pytest.raises(InputError, match="unknown detector='magic'; give 'dictionary'"):
        make_detector("magic", index)
    with pytest.raises(InputTypeError, match="unknown detector=5"):
        make_detector(5, index)  # type: ignore[arg-type]


def test_dictionary_follows_the_names_of_the_index(index: EntityIndex) -> None:
    detector = make_detector("dictionary", index)
    assert detector is not None
    assert [TEXT[start:end] for start, end in detector.detect([TEXT])[0]] == ["大鹏", "苹果"]
    index.remove(["dapeng", "roc"])
    assert [TEXT[start:end] for start, end in detector.detect([TEXT])[0]] == ["苹果"]


def test_dictionary_knows_names_as_the_index_has_them_written(index: EntityIndex) -> None:
    index.add([Entity("node", "Node", ("Node.js",))], np.zeros((1, index.dimension), np.float32))
    text = "用node.js写，不在node。js有"
    (spans,) = detect("dictionary", index, [text])
    assert [text[start:end] for start, end in spans] == ["node.js", "node"]


def test_dictionary_finds_names_of_as_many_bearers_as_it_is_told(index: EntityIndex) -> None:
    assert detect(DictionaryOptions(max_bearers=3), index, ["苹果"]) == [[(0, 2)]]
    assert detect(DictionaryOptions(max_bearers=2), index, ["苹果"]) == [[]]
    with pytest.raises(InputError, match="max_bearers=0"):
        make_detector(DictionaryOptions(max_bearers=0), index)


def test_names_are_not_read_in_the_middle_of_a_change(index: EntityIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    detector = make_detector("dictionary", index)
    assert detector is not None
    others: list[Thread] = []
    release = index.lexicon.release

    def release_and_detect(*removed: Any) -> None:
        release(*removed)
        others.append(Thread(target=detector.detect, args=([TEXT],)))
        others[0].start()
        others[0].join(0.2)  # it may not end before the change does

    monkeypatch.setattr(index.lexicon, "release", release_and_detect)
    index.remove(["apple-inc"])
    others[0].join()
    for entity in index:
        assert index.row_of(entity.id) in index.lexicon.names.exact(entity.name)
