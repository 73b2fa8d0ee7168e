from typing import Any

import pytest

from modelscope_plugin.data.records import Document, Mention
from modelscope_plugin.data.requests import EmbeddingRequest, parse_embedding_request, parse_linking_document
from modelscope_plugin.errors import InputError, InputTypeError

SENTENCE = "昨晚大鹏在合肥开唱"
MARKED = "昨晚 [ENT_S] 大鹏 [ENT_E] 在合肥开唱"
MENTION = Mention(SENTENCE, 2, 4)
OFFSETS = {"text": SENTENCE, "start": 2, "end": 4}


@pytest.mark.parametrize("item", [MARKED, MENTION, OFFSETS])
def test_embedding_request_reads_a_mention_in_each_form(item: Any) -> None:
    assert parse_embedding_request({"source_sentence": [item]}) == EmbeddingRequest([MENTION], [])


def test_embedding_request_keeps_a_text_without_markers() -> None:
    assert parse_embedding_request({"source_sentence": [SENTENCE]}).sources == [SENTENCE]


def test_embedding_request_reads_sources_and_candidates() -> None:
    request = parse_embedding_request(
        {"source_sentence": [MARKED, SENTENCE], "sentences_to_compare": ["大鹏;", "黄山;"]}
    )
    assert request == EmbeddingRequest([MENTION, SENTENCE], ["大鹏;", "黄山;"])


@pytest.mark.parametrize("item", [MARKED, MENTION, OFFSETS])
def test_embedding_request_takes_a_bare_item_for_one_source(item: Any) -> None:
    assert parse_embedding_request(item) == EmbeddingRequest([MENTION], [])


def test_embedding_request_takes_a_bare_list_for_sources() -> None:
    assert parse_embedding_request([SENTENCE, MARKED]).sources == [SENTENCE, MENTION]


def test_embedding_request_takes_one_item_in_place_of_a_list() -> None:
    request = parse_embedding_request({"source_sentence": MARKED, "sentences_to_compare": "大鹏;"})
    assert request == EmbeddingRequest([MENTION], ["大鹏;"])


def test_embedding_request_reads_other_keys() -> None:
    request = parse_embedding_request({"query": [SENTENCE], "docs": ["大鹏;"]}, "query", "docs")
    assert request == EmbeddingRequest([SENTENCE], ["大鹏;"])


def test_embedding_request_takes_empty_lists() -> None:
    assert parse_embedding_request({"source_sentence": [], "sentences_to_compare": []}) == EmbeddingRequest([], [])


def test_embedding_request_keeps_markers_of_candidates_as_text() -> None:
    assert parse_embedding_request({"source_sentence": [], "sentences_to_compare": [MARKED]}).candidates == [MARKED]


def test_embedding_request_names_an_unknown_key() -> None:
    with pytest.raises(InputTypeError, match="unknown key 'sentence'"):
        parse_embedding_request({"source_sentence": [SENTENCE], "sentence": []})


def test_embedding_request_names_the_missing_key() -> None:
    with pytest.raises(InputTypeError, match="no 'source_sentence' in the input"):
        parse_embedding_request({"sentences_to_compare": ["大鹏;"]})


@pytest.mark.parametrize("item", [None, 5, b"abc", [SENTENCE], Document(SENTENCE, (MENTION,))])
def test_embedding_request_names_the_place_of_a_source_of_a_wrong_type(item: Any) -> None:
    with pytest.raises(InputTypeError, match=r"source_sentence\[1\] must be a text"):
        parse_embedding_request({"source_sentence": [SENTENCE, item]})


@pytest.mark.parametrize("item", [None, 5, MENTION, OFFSETS])
def test_embedding_request_names_the_place_of_a_candidate_of_a_wrong_type(item: Any) -> None:
    with pytest.raises(InputTypeError, match=r"sentences_to_compare\[1\] must be a text"):
        parse_embedding_request({"source_sentence": [], "sentences_to_compare": ["大鹏;", item]})


@pytest.mark.parametrize("value", [5, 1.5, {SENTENCE}, object()])
def test_embedding_request_refuses_an_input_of_a_wrong_type(value: Any) -> None:
    with pytest.raises(InputTypeError, match="a text or a list of texts is needed"):
        parse_embedding_request(value)


def test_embedding_request_names_the_place_of_broken_markers() -> None:
    with pytest.raises(InputError, match=r"source_sentence\[1\]: 1 \[ENT_S\] and 0 \[ENT_E\]"):
        parse_embedding_request([SENTENCE, "[ENT_S] 大鹏"])


def test_embedding_request_names_the_place_of_wrong_offsets() -> None:
    with pytest.raises(InputError, match=r"source_sentence\[0\]: mention offsets 2:40 lie outside"):
        parse_embedding_request([{"text": SENTENCE, "start": 2, "end": 40}])


def test_embedding_request_refuses_several_mentions_in_one_source() -> None:
    spans = [{"start": 2, "end": 4}, {"start": 5, "end": 7}]
    with pytest.raises(InputError, match=r"source_sentence\[0\]: 2 mentions in one source"):
        parse_embedding_request([{"text": SENTENCE, "mentions": spans}])


@pytest.mark.parametrize("value", [MARKED, MENTION, OFFSETS, {"text": MARKED}, Document(SENTENCE, (MENTION,))])
def test_linking_document_reads_each_form(value: Any) -> None:
    assert parse_linking_document(value) == Document(SENTENCE, (MENTION,))


def test_linking_document_reads_many_mentions_of_one_text() -> None:
    spans = [{"start": 2, "end": 4}, {"start": 5, "end": 7}]
    found = parse_linking_document({"text": SENTENCE, "mentions": spans}).mentions
    assert [mention.surface for mention in found] == ["大鹏", "合肥"]


@pytest.mark.parametrize("key", ["mentions", "mention_data"])
def test_linking_document_takes_an_empty_list_of_mentions(key: str) -> None:
    assert parse_linking_document({"text": SENTENCE, key: []}) == Document(SENTENCE, (), has_no_mentions=True)


def test_linking_document_keeps_the_text_id_of_a_mention() -> None:
    assert parse_linking_document(Mention(SENTENCE, 2, 4, text_id="7")).text_id == "7"


@pytest.mark.parametrize("value", [SENTENCE, "", {"text": SENTENCE}])
def test_linking_document_refuses_a_text_without_mention(value: Any) -> None:
    with pytest.raises(InputError, match="no mention in"):
        parse_linking_document(value)


@pytest.mark.parametrize("value", [None, 5, b"abc", [SENTENCE]])
def test_linking_document_refuses_an_input_of_a_wrong_type(value: Any) -> None:
    with pytest.raises(InputTypeError, match="a text or a dict is needed"):
        parse_linking_document(value)
