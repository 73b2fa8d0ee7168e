from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from modelscope_plugin.data.names import normalized_name
from modelscope_plugin.linking.detection.letters import Letters


@given(st.text(max_size=20) | st.text(alphabet="ab大á=゛\u0301\u0323\u0345\u1161\u11a8가.· +ﾊﾞÅ℃ß\ud800", max_size=20))
@example("e·\u0301")
@example("か゛¨")
@example("\u00c0\u0345")
def test_letters_are_those_of_the_normalised_name(text: str) -> None:
    normalized = normalized_name(text)
    assert Letters(text).text in (normalized, "")
    assert Letters(text).text or not any(map(str.isalpha, normalized))


def test_every_character_becomes_what_it_becomes_in_a_name() -> None:
    characters = [chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) != "Cn"][::7]
    wrong = [one for one in characters if Letters(f"大{one}").text != normalized_name(f"大{one}")]
    assert wrong == []


@pytest.mark.parametrize(
    ("text", "start", "end", "span"),
    [("a大鹏", 1, 3, (1, 3)), ("ae\u0301 b", 1, 2, (1, 3)), ("㍿大", 0, 4, (0, 1)), ("e·\u0301x", 0, 1, (0, 3))],
)
def test_span_holds_the_marks_of_its_letters(text: str, start: int, end: int, span: tuple[int, int]) -> None:
    assert Letters(text).span(start, end) == span


def test_very_many_marks_are_read_once() -> None:
    assert len(Letters("a" + "\u0323\u0301" * 100_000).text) > 100_000
