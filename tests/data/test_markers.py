import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelscope_plugin.data.markers import MENTION_END, MENTION_START, mark_mention, parse_marked_text
from modelscope_plugin.data.records import Mention
from modelscope_plugin.errors import InputError

# Brackets are in it, the letters of the markers are not.
CONTEXT = st.text(alphabet="董成鹏唱，。[]ab1é😀 \t\n\u3000\u00a0", max_size=12)
SURFACE = CONTEXT.filter(str.strip)
CHINESE = st.text(alphabet="董成鹏大唱，。《》", max_size=8)
SPACE = st.text(alphabet=" \t\n\r\u3000\u00a0\u2009", max_size=4)
SOME_SPACE = SPACE.filter(bool)

checked = settings(deadline=None, max_examples=150)


@st.composite
def mentions(draw: st.DrawFn) -> Mention:
    left, surface, right = draw(CONTEXT), draw(SURFACE), draw(CONTEXT)
    return Mention(left + surface + right, len(left), len(left) + len(surface))


def parsed(text: str) -> Mention:
    mention = parse_marked_text(text)
    assert mention is not None
    return mention


@checked
@given(mentions())
def test_mark_then_parse_keeps_the_surface(mention: Mention) -> None:
    assert parsed(mark_mention(mention)).surface == mention.surface.strip()


@checked
@given(mentions())
def test_mark_then_parse_keeps_everything_but_white_space(mention: Mention) -> None:
    assert "".join(parsed(mark_mention(mention)).text.split()) == "".join(mention.text.split())


@checked
@given(mentions())
def test_mark_then_parse_then_mark_changes_nothing(mention: Mention) -> None:
    marked = mark_mention(mention)
    assert mark_mention(parsed(marked)) == marked


@checked
@given(CHINESE, CHINESE.filter(bool), CHINESE)
def test_mark_then_parse_gives_the_same_chinese_mention(left: str, surface: str, right: str) -> None:
    mention = Mention(left + surface + right, len(left), len(left) + len(surface))
    assert parsed(mark_mention(mention)) == mention


@checked
@given(CHINESE, CHINESE.filter(bool), CHINESE, SPACE, SPACE, SPACE, SPACE)
def test_parse_ignores_white_space_around_markers_in_chinese(
    left: str, surface: str, right: str, a: str, b: str, c: str, d: str
) -> None:
    spaced = f"{left}{a}{MENTION_START}{b}{surface}{c}{MENTION_END}{d}{right}"
    assert parsed(spaced) == parsed(f"{left}{MENTION_START}{surface}{MENTION_END}{right}")


@checked
@given(SOME_SPACE, SPACE, SPACE, SOME_SPACE)
def test_parse_keeps_one_space_between_words_whatever_space_the_markers_have(a: str, b: str, c: str, d: str) -> None:
    mention = parsed(f"I saw{a}{MENTION_START}{b}Da Peng{c}{MENTION_END}{d}today")
    assert (mention.text, mention.surface) == ("I saw Da Peng today", "Da Peng")


def test_mark_then_parse_gives_the_same_english_mention() -> None:
    mention = Mention("I saw Da Peng, who sang", 6, 13)
    assert parsed(mark_mention(mention)) == mention


def test_mark_then_parse_keeps_the_space_behind_a_comma_in_english() -> None:
    mention = Mention("Hello, Da Peng said", 7, 14)
    assert parsed(mark_mention(mention)) == mention


def test_parse_puts_no_space_between_chinese_and_latin() -> None:
    assert parsed("歌手 [ENT_S] Da Peng [ENT_E] 来了").text == "歌手Da Peng来了"


def test_mark_writes_the_form_of_the_model_card() -> None:
    assert mark_mention(Mention("昨晚大鹏开唱", 2, 4)) == "昨晚 [ENT_S] 大鹏 [ENT_E] 开唱"


def test_mark_puts_no_space_at_the_ends_of_the_text() -> None:
    assert mark_mention(Mention("大鹏", 0, 2)) == "[ENT_S] 大鹏 [ENT_E]"


def test_mark_moves_white_space_of_the_span_out_of_it() -> None:
    assert mark_mention(Mention("see  Da Peng  now", 3, 14)) == "see [ENT_S] Da Peng [ENT_E] now"


@pytest.mark.parametrize("text", ["", "昨晚大鹏开唱", "[ENT_S 大鹏 ENT_E]", "[ent_s] 大鹏 [ent_e]"])
def test_parse_gives_none_without_markers(text: str) -> None:
    assert parse_marked_text(text) is None


@pytest.mark.parametrize("text", ["昨晚 [ENT_S] 大鹏", "大鹏 [ENT_E] 开唱", "[ENT_S]", "[ENT_E]"])
def test_parse_refuses_unbalanced_markers(text: str) -> None:
    with pytest.raises(InputError, match="mark exactly one mention"):
        parse_marked_text(text)


def test_parse_refuses_reversed_markers() -> None:
    with pytest.raises(InputError, match=r"put \[ENT_S\] first"):
        parse_marked_text("昨晚 [ENT_E] 大鹏 [ENT_S] 开唱")


def test_parse_refuses_nested_markers() -> None:
    with pytest.raises(InputError, match=r"2 \[ENT_S\] and 2 \[ENT_E\]"):
        parse_marked_text("[ENT_S] 北京 [ENT_S] 大学 [ENT_E] [ENT_E]")


def test_parse_refuses_repeated_markers() -> None:
    with pytest.raises(InputError, match=r"2 \[ENT_S\] and 2 \[ENT_E\]"):
        parse_marked_text("[ENT_S] 大鹏 [ENT_E] 和 [ENT_S] 小鹏 [ENT_E]")


@pytest.mark.parametrize("inside", ["", " ", "\u3000\n"])
def test_parse_refuses_markers_with_nothing_between(inside: str) -> None:
    with pytest.raises(InputError, match="a mention needs text"):
        parse_marked_text(f"昨晚{MENTION_START}{inside}{MENTION_END}开唱")


def test_parse_error_shows_only_the_beginning_of_a_long_text() -> None:
    with pytest.raises(InputError) as caught:
        parse_marked_text("[ENT_S]" + "长" * 10_000)
    assert len(str(caught.value)) < 200
