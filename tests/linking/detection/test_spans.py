from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelscope_plugin.data import Document, Mention
from modelscope_plugin.errors import InputError, InputTypeError
from modelscope_plugin.linking.detection.spans import add_mentions

TEXT = "小品里大鹏很好笑，苹果也好吃"


class Found:
    """A detector that finds the same in every text and remembers what it was given."""

    def __init__(self, found: Any) -> None:
        self.found = found
        self.calls: list[list[str]] = []

    def detect(self, texts: Sequence[str]) -> Any:
        self.calls.append(list(texts))
        return [self.found for _ in texts]


def surfaces(found: Any, text: str = TEXT) -> list[str]:
    (document,) = add_mentions([Document(text, ())], Found(found))
    return [mention.surface for mention in document.mentions]


def pairs() -> Iterator[tuple[int, int]]:
    yield from [(9, 11), (3, 5)]


@pytest.mark.parametrize(
    "found",
    [
        [(3, 5), (9, 11)],
        [[3, 5], [9, 11]],
        np.array([[3, 5], [9, 11]]),
        pairs(),
        [{"start": 9, "end": 11, "type": "FOOD", "span": "苹果"}, {"start": np.int64(3), "end": np.int64(5)}],
        {"output": [{"start": 3, "end": 5, "type": "PER", "span": "大鹏"}, {"start": 9, "end": 11}]},
    ],
)
def test_spans_come_in_any_form(found: Any) -> None:
    assert surfaces(found) == ["大鹏", "苹果"]


def test_of_overlapping_spans_the_longest_stays_and_the_first_of_equal_ones() -> None:
    assert surfaces([(3, 5), (4, 7), (9, 11), (9, 11)]) == ["鹏很好", "苹果"]
    assert surfaces([(4, 6), (3, 5)]) == ["大鹏"]


@given(st.lists(st.tuples(st.integers(0, 13), st.integers(1, 6)), max_size=20))
def test_mentions_are_in_order_and_apart_and_every_other_span_overlaps_a_longer_or_earlier_one(
    found: list[tuple[int, int]],
) -> None:
    text = "字" * 20
    spans = [(start, start + length) for start, length in found]
    (document,) = add_mentions([Document(text, ())], Found(spans))
    kept = [(mention.start, mention.end) for mention in document.mentions]
    assert all(one[1] <= other[0] for one, other in pairwise(kept))
    assert set(kept) <= set(spans)
    for start, end in set(spans) - set(kept):
        overlapping = [one for one in kept if one[0] < end and start < one[1]]
        assert any((one[0] - one[1], one[0]) < (start - end, start) for one in overlapping)


def test_own_spans_win_and_blank_or_bare_texts_are_not_looked_at() -> None:
    kept = [
        Document(TEXT, (Mention(TEXT, 0, 2),)),
        Document(TEXT, (), has_no_mentions=True),
        Document(" ", ()),
        Document("", ()),
    ]
    detector = Found([(0, 1)])
    assert add_mentions(kept, detector) == kept
    assert detector.calls == []


def test_texts_are_given_together_and_keep_their_order_and_ids() -> None:
    documents = [Document(f"第{number}篇", (), text_id=str(number)) for number in range(600)]
    documents[300] = Document(TEXT, (Mention(TEXT, 3, 5),))
    detector = Found([(0, 1)])
    added = add_mentions(documents, detector)
    assert [len(texts) for texts in detector.calls] == [256, 256, 87]
    assert [document.text for document in added] == [document.text for document in documents]
    assert added[599].mentions == (Mention("第599篇", 0, 1, text_id="599"),)
    assert added[300] is documents[300]


@pytest.mark.parametrize("found", ["x", b"x", {}, {"output": None}, None, 3])
def test_what_is_no_list_of_spans_is_named_with_the_text(found: Any) -> None:
    with pytest.raises(InputTypeError, match=r"must return a list of spans, not .*, for the text '小品里"):
        surfaces(found)


@pytest.mark.parametrize("span", [{"start": None, "end": 2}, {"text": "x"}, ("a", "b"), "ab", ([1], [2]), 3, (1, 2, 3)])
def test_what_is_no_span_is_named_with_the_text(span: object) -> None:
    with pytest.raises(InputTypeError, match=r"a span must be \(start, end\).* in the text '小品里"):
        surfaces([span])


@pytest.mark.parametrize("span", [(3, 99), (-1, 2), (5, 3), (4, 4)])
def test_span_outside_the_text_or_empty_is_named_with_the_text(span: tuple[int, int]) -> None:
    with pytest.raises(InputError, match=r"the detector returned a span that cannot be used: .*'小品里"):
        surfaces([(0, 14), span])


@pytest.mark.parametrize("found", [[], [[], []], None, iter([[]]), "x"])
def test_detector_returns_one_list_for_each_text(found: Any) -> None:
    class Wrong:
        def detect(self, texts: Sequence[str]) -> Any:
            return found

    with pytest.raises(InputTypeError, match="must return a list of spans for each of 1 texts"):
        add_mentions([Document(TEXT, ())], Wrong())
