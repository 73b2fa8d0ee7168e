from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from modelscope_plugin.data.records import Entity, Mention, excerpt
from modelscope_plugin.errors import InputError, InputTypeError

SENTENCE = "昨晚大鹏在合肥开唱"


def test_mention_surface_is_the_span() -> None:
    assert Mention(SENTENCE, 2, 4).surface == "大鹏"


@pytest.mark.parametrize("text", [None, b"abc", 7, ["大鹏"]])
def test_mention_refuses_a_text_that_is_no_string(text: Any) -> None:
    with pytest.raises(InputTypeError, match="must be a string"):
        Mention(text, 0, 1)


@pytest.mark.parametrize("offset", [True, 1.0, "1", None])
def test_mention_refuses_a_start_that_is_no_integer(offset: Any) -> None:
    with pytest.raises(InputTypeError, match="start="):
        Mention(SENTENCE, offset, 4)


@pytest.mark.parametrize("offset", [False, 4.0, "4", None])
def test_mention_refuses_an_end_that_is_no_integer(offset: Any) -> None:
    with pytest.raises(InputTypeError, match="end="):
        Mention(SENTENCE, 0, offset)


@pytest.mark.parametrize(("start", "end"), [(-1, 2), (4, 2), (0, 10), (10, 11), (-3, -1)])
def test_mention_refuses_offsets_outside_the_text(start: int, end: int) -> None:
    with pytest.raises(InputError, match=f"{start}:{end} lie outside the text of 9 characters"):
        Mention(SENTENCE, start, end)


@pytest.mark.parametrize(("start", "end"), [(2, 2), (2, 4)])
def test_mention_refuses_a_span_without_text(start: int, end: int) -> None:
    with pytest.raises(InputError, match="empty mention"):
        Mention("大鹏\u3000 开唱", start, end)


def test_mention_of_the_whole_text_is_accepted() -> None:
    assert Mention("大鹏", 0, 2).surface == "大鹏"


def test_mention_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        Mention(SENTENCE, 2, 4).start = 0  # type: ignore[misc]


def test_entities_of_equal_fields_are_equal_and_hash_alike() -> None:
    assert len({Entity("1", "大鹏", ("鹏鹏",)), Entity("1", "大鹏", ("鹏鹏",))}) == 1


def test_entity_record_keeps_only_filled_fields() -> None:
    assert Entity("1", "大鹏", types=("Person",)).to_record() == {"id": "1", "name": "大鹏", "types": ("Person",)}


def test_entity_record_always_has_id_and_name() -> None:
    assert Entity("", "").to_record() == {"id": "", "name": ""}


def test_excerpt_shortens_a_long_text() -> None:
    assert excerpt("很" * 100, length=3) == "'很很很…'"


def test_excerpt_shows_a_short_text_whole() -> None:
    assert excerpt("第一行\n第二行") == r"'第一行\n第二行'"


def test_input_errors_are_the_built_in_ones_too() -> None:
    assert (issubclass(InputError, ValueError), issubclass(InputTypeError, TypeError)) == (True, True)
