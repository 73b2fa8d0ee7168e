from __future__ import annotations

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from modelscope_plugin.data.names import normalized_name
from modelscope_plugin.errors import InputError
from modelscope_plugin.linking.detection.dictionary import DictionaryDetector
from modelscope_plugin.linking.detection.letters import Letters
from modelscope_plugin.retrieval.lexical import AliasIndex

NAMES = ["大鹏", "大鹏鸟", "周杰伦", "Da Peng", "AT&T", "李", "2019"]


def found(text: str, names: list[str] = NAMES, **options: int) -> list[str]:
    index = AliasIndex.build((name, row) for row, name in enumerate(names))
    detector = DictionaryDetector(index, lambda row: (names[row],), **options)
    return [text[start:end] for start, end in detector.detect([text])[0]]


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
    assert DictionaryDetector(index, max_bearers=2).detect(["大鹏公司"]) == [[(0, 2)]]
    assert DictionaryDetector(index, max_bearers=3).detect(["大鹏公司"]) == [[(0, 2), (2, 4)]]


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
    last = 0
    for start, end in DictionaryDetector(index, min_length=1).detect([text])[0]:
        assert last <= start < end <= len(text)
        last = end


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
    assert [text[start:end] for start, end in detector.detect([text])[0]] == found


@pytest.mark.parametrize(
    ("name", "text", "surface"),
    [
        ("A+B=C公司", "他在A+B=C公司上班", "A+B=C公司"),
        ("25℃咖啡", "25℃咖啡不错", "25℃咖啡"),
        ("微软™中国", "在微软™中国上班", "微软™中国"),
        ("US$基金", "买ＵＳ＄基金的人", "ＵＳ＄基金"),
        ("café", "去cafe\u0301喝", "cafe\u0301"),
        ("x̂算法", "用x̂算法", "x̂算法"),
        ("ガンダム", "看ｶﾞﾝﾀﾞﾑ的人", "ｶﾞﾝﾀﾞﾑ"),
        ("한국", "去\u1112\u1161\u11ab\u1100\u116e\u11a8玩", "\u1112\u1161\u11ab\u1100\u116e\u11a8"),
        ("iPhone手机", "买iPhone 手机吧", "iPhone 手机"),
        ("小米14", "买小米 14吧", "小米 14"),
        ("大鹏", "说大\u200b鹏吧", "大\u200b鹏"),
        ("Node.js", "我用node.js写", "node.js"),
        ("TCP/IP协议", "学TCP/IP协议吧", "TCP/IP协议"),
        ("A.B.C", "说A.B.C。", "A.B.C"),
        ("安徒生·童话", "读安徒生•童话吧", "安徒生•童话"),
        ("O'Neill", "是O’Neill吗", "O’Neill"),
        ("《三体》", "读《三体》吧", "三体"),
        ("《三体》三部曲", "读《三体》三部曲吧", "三体》三部曲"),
        ("你好，李焕英", "看你好,李焕英吧", "你好,李焕英"),
        ("Hi, Mom", "看Hi,Mom吧", "Hi,Mom"),
        ("三体 黑暗森林", "读三体 黑暗森林吧", "三体 黑暗森林"),
        ("New York", "in New\nYork.", "New\nYork"),
    ],
)  # fmt: skip
def test_name_is_found_as_it_is_written(name: str, text: str, surface: str) -> None:
    assert found(text, [name]) == [surface]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("了他", "他走了。他"),
        ("了.他", "他走了。。他"),
        ("好李焕英", "你好，李焕英"),
        ("nodejs", "end of node.js"),
        ("大鹏", "大 鹏"),
        ("大鹏", "大\n鹏"),
        ("newyork", "New\n\nYork"),
        ("iphone手机", "iPhone\n手机"),
        ("大鹏", "大\0鹏"),
        ("大鹏", "大\ud800鹏"),
        ("caf咖啡", "écaf咖啡"),
        ("大鹏caf", "大鹏café"),
        ("大鹏моск", "大鹏москва"),
        ("大鹏caf", "大鹏ｃａｆｅ"),
        ("大鹏caf", "大鹏caf\u0301"),
        ("大鹏da", "大鹏da\u00adpeng"),
        ("会社", "㍿が"),
    ],
)
def test_name_does_not_reach_where_it_is_not_written(name: str, text: str) -> None:
    assert found(text, [name]) == []


def test_wide_scripts_have_no_words() -> None:
    assert found("서울에서ガンダムを見る", ["서울", "ガンダム"]) == ["서울", "ガンダム"]


def test_long_name_is_found_whole() -> None:
    name = "The Journal of " + "very " * 20 + "long names"
    assert found(f"in {name}.", [name]) == [name]
    assert found("in The Journal of " + "very " * 20 + "long nam.", [name]) == []
    assert found(f"{'长' * 99}，短", ["长" * 99, "长" * 70]) == ["长" * 99]


def test_without_the_names_as_written_only_joining_signs_stand_inside() -> None:
    detector = DictionaryDetector(AliasIndex.build([("A.B-C", 0)]))
    assert detector.detect(["A.B.C", "A-B-C"]) == [[], [(0, 5)]]


@given(st.text(max_size=12) | st.text(alphabet="ab大鹏á=゛\u0301\u1161.·‐ +ﾊﾞÅ\ud800", max_size=12))
@example("e·\u0301x")
def test_every_name_is_found_where_it_stands(name: str) -> None:
    normalized = normalized_name(name)
    assume(len(normalized) >= 2 and any(map(str.isalpha, normalized)) and "的" not in normalized)
    # A mark without a letter belongs to whatever stands before it.
    assume(Letters(f"的，{name}").is_border(1))
    (spans,) = DictionaryDetector(AliasIndex.build([(name, 0)]), lambda _: (name,)).detect([f"的，{name}，的"])
    assert len(spans) == 1
    start, end = spans[0]
    assert 2 <= start < end <= 2 + len(name)
    assert normalized_name(f"的，{name}，的"[start:end]) == normalized


def test_text_of_many_windows_is_searched_whole() -> None:
    text = "周杰伦" * 20_000
    assert len(found(text)) == 20_000
