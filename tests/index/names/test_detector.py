from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelscope_plugin.errors import InputError
from modelscope_plugin.index.names import AliasIndex
from modelscope_plugin.index.names.detector import DictionaryDetector

NAMES = ["大鹏", "大鹏鸟", "周杰伦", "Da Peng", "AT&T", "李", "2019"]


def found(text: str, names: list[str] = NAMES, **options: int) -> list[str]:
    index = AliasIndex.build((name, row) for row, name in enumerate(names))
    return [text[start:end] for start, end in DictionaryDetector(index, **options)(text)]


def test_the_longest_name_is_taken_without_overlaps() -> None:
    assert found("大鹏鸟和大鹏飞了") == ["大鹏鸟", "大鹏"]


def test_spans_are_those_of_the_text_as_written() -> None:
    assert found("周·杰倫聽ＡＴ＆Ｔ的Da-Peng, da peng") == ["周·杰倫", "ＡＴ＆Ｔ", "Da-Peng", "da peng"]


def test_a_name_does_not_reach_over_the_end_of_a_sentence() -> None:
    assert found("很大。鹏飞了") == []


def test_part_of_a_word_is_no_name() -> None:
    assert found("dapengx xdapeng da pengs") == []


def test_short_names_and_numbers_are_left_out() -> None:
    assert found("李在2019年") == []
    assert found("李在2019年", min_length=1) == ["李"]


def test_names_of_very_many_entities_are_left_out() -> None:
    index = AliasIndex.build([("公司", row) for row in range(3)] + [("大鹏", 0)])
    assert DictionaryDetector(index, max_bearers=2)("大鹏公司") == [(0, 2)]
    assert DictionaryDetector(index, max_bearers=3)("大鹏公司") == [(0, 2), (2, 4)]


def test_empty_dictionary_finds_nothing() -> None:
    assert found("大鹏", []) == []


def test_bounds_are_positive() -> None:
    with pytest.raises(InputError, match="must be at least 1"):
        found("大鹏", min_length=0)


@given(
    text=st.text(alphabet="大鹏鸟 a.·\ud800", max_size=12),
    names=st.lists(st.text(alphabet="大鹏鸟a", min_size=1), max_size=4),
)
def test_spans_are_in_order_apart_and_not_empty(text: str, names: list[str]) -> None:
    index = AliasIndex.build((name, row) for row, name in enumerate(names))
    place = 0
    for start, end in DictionaryDetector(index, min_length=1)(text):
        assert place <= start < end <= len(text)
        place = end


@pytest.mark.parametrize(
    ("names", "text", "found"),
    [
        (["iPhone", "iPhone 1"], "我买了iPhone 15手机", ["iPhone"]),
        (["T5模型", "模型训练"], "GPT5模型训练很贵", ["模型训练"]),
        (["长江", "长江大桥", "大桥"], "长江大桥很长", ["长江大桥"]),
    ],
)
def test_longer_name_that_ends_inside_a_word_hides_no_other(names: list[str], text: str, found: list[str]) -> None:
    detector = DictionaryDetector(AliasIndex.build((name, row) for row, name in enumerate(names)))
    assert [text[start:end] for start, end in detector(text)] == found
