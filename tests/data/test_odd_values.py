"""Values of unexpected types in any field are read as what they mean, or refused with an error of this package."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelscope_plugin.data.parsing import parse_document, parse_entity
from modelscope_plugin.data.records import Entity, Mention
from modelscope_plugin.data.requests import EmbeddingRequest, parse_embedding_request, parse_linking_document
from modelscope_plugin.errors import InputError

SENTENCE = "昨晚大鹏在合肥开唱"
PLAIN = (
    st.none() | st.booleans() | st.integers(-2, 12) | st.floats() | st.sampled_from(["", "大鹏", "2", "a|b", SENTENCE])
)
NESTED = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["start", "end"]), inner)
)
ARRAYS = st.one_of(
    st.lists(st.integers(0, 9), max_size=3).map(np.array),
    st.lists(st.lists(st.integers(0, 9), min_size=2, max_size=2), max_size=3).map(np.array),
    st.lists(st.sampled_from(["大鹏", "a"]), max_size=3).map(np.array),
    st.lists(PLAIN, max_size=3).map(lambda values: np.array(values, dtype=object)),
    st.sampled_from([np.array(2), np.array("大鹏"), np.int64(2), np.float32(1), np.str_("大鹏"), np.bool_(True)]),
    st.sampled_from(
        [np.datetime64("2020-01-01"), np.array([], dtype=object), np.ndarray, np.array([np.arange(2), None], object)]
    ),
)
ODD = (
    NESTED | ARRAYS | st.binary(max_size=2) | st.sets(st.integers(0, 3)) | st.sampled_from([(), object(), 3j, range(2)])
)
SPAN_KEYS = ("start", "end", "offset", "mention", "entity_ids", "entity_id", "kb_id", "negatives")
SPANS = st.dictionaries(st.sampled_from(SPAN_KEYS), ODD) | ODD
LISTS = st.lists(SPANS, max_size=2) | st.lists(SPANS, min_size=1, max_size=2).map(lambda spans: np.array(spans, object))
DOCUMENTS = st.fixed_dictionaries(
    {"text": st.just(SENTENCE) | ODD},
    optional={"text_id": ODD, "mentions": LISTS | ODD, "mention_data": LISTS | ODD} | dict.fromkeys(SPAN_KEYS, ODD),
)
ENTITY_KEYS = (
    "id",
    "name",
    "aliases",
    "types",
    "description",
    "facts",
    "subject_id",
    "subject",
    "alias",
    "type",
    "data",
)


@given(DOCUMENTS, st.booleans())
def test_odd_text_is_read_or_refused(value: dict[str, Any], unmarked: bool) -> None:
    try:
        document = parse_linking_document(value, unmarked=unmarked)
    except InputError:
        return
    assert document.text == str(value["text"])
    assert all(type(mention.start) is int and mention.surface for mention in document.mentions)


@given(
    st.dictionaries(st.sampled_from(["source_sentence", "sentences_to_compare", "text", "x"]), ODD | DOCUMENTS) | ODD
)
def test_odd_request_is_read_or_refused(value: Any) -> None:
    try:
        request = parse_embedding_request(value)
    except InputError:
        return
    assert all(isinstance(source, str | Mention) for source in request.sources)
    assert all(isinstance(candidate, str) for candidate in request.candidates)


@given(st.dictionaries(st.sampled_from(ENTITY_KEYS), ODD))
def test_odd_entity_is_read_or_refused(value: dict[str, Any]) -> None:
    try:
        entity = parse_entity(value)
    except InputError:
        return
    assert all(type(name) in (str, np.str_) for name in entity.names)


@pytest.mark.parametrize("key", ["start", "end", "mention", "text_id", "mentions"])
def test_array_in_a_field_of_one_value_is_named(key: str) -> None:
    record = {"text": SENTENCE, "start": 2, "end": 4} | {key: np.array([1, 2])}
    with pytest.raises(InputError, match=f"{key}.* must be .*"):
        parse_document(record)


def test_arrays_of_texts_ids_and_spans_are_lists() -> None:
    span = {"start": np.array(2), "end": np.int64(4), "entity_ids": np.array([7, 8]), "negatives": np.array(["a", "7"])}
    assert parse_document(
        {"text": np.str_(SENTENCE), "text_id": np.int64(5), "mentions": np.array([span])}
    ).mentions == (Mention(SENTENCE, 2, 4, ("7", "8"), text_id="5", negatives=("a",)),)
    record = {
        "id": np.int64(5),
        "name": "大鹏",
        "aliases": np.array(["Da", "Peng"]),
        "facts": np.array([["类型", "鸟"]]),
    }
    assert parse_entity(record) == Entity("5", "大鹏", ("Da", "Peng"), facts=(("类型", "鸟"),))
    value = {"source_sentence": np.array(SENTENCE), "sentences_to_compare": np.array(["甲", "乙"], dtype=object)}
    assert parse_embedding_request(value) == EmbeddingRequest([SENTENCE], ["甲", "乙"])


def test_bytes_are_not_taken_for_a_list() -> None:
    with pytest.raises(InputError, match="a text or a list of texts is needed, not bytes"):
        parse_embedding_request({"source_sentence": b"abc"})
