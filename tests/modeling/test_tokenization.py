from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import BertTokenizerFast

from modelscope_plugin.data.markers import MENTION_END, MENTION_START, mark_mention
from modelscope_plugin.data.records import Mention
from modelscope_plugin.errors import InputError, InputTypeError
from modelscope_plugin.modeling.tokenization import EntityTokenizer, declare_markers

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
CHARACTERS = "董成鹏大唱在合肥演员查询：，。《》"
LETTERS = [piece for letter in "adegnpst" for piece in (letter, "##" + letter)]
VOCABULARY = [*SPECIAL, *CHARACTERS, *LETTERS, *"[]_;:1,", "da", "##ng", "pe"]
MARKERS = [MENTION_START, MENTION_END]

CONTEXT = st.text(alphabet="董成唱，a d\u3000", max_size=60)
SURFACE = st.text(alphabet="大鹏 pe", min_size=1, max_size=30).filter(str.strip)
SPACE = st.text(alphabet=" \t\n\u3000\u00a0", max_size=4)
MAX_LENGTH = st.integers(20, 48)

checked = settings(deadline=None, max_examples=100)


@st.composite
def mentions(draw: st.DrawFn) -> Mention:
    left, surface, right = draw(CONTEXT), draw(SURFACE), draw(CONTEXT)
    return Mention(left + surface + right, len(left), len(left) + len(surface))


def bert(folder: Path, vocabulary: list[str]) -> BertTokenizerFast:
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    return BertTokenizerFast.from_pretrained(folder, local_files_only=True)


@pytest.fixture(scope="module", params=["with markers", "without markers"])
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> EntityTokenizer:
    vocabulary = VOCABULARY + (MARKERS if request.param == "with markers" else [])
    return EntityTokenizer(bert(tmp_path_factory.mktemp("vocabulary"), vocabulary))


@pytest.fixture
def marked(tmp_path: Path) -> EntityTokenizer:
    return EntityTokenizer(bert(tmp_path, VOCABULARY + MARKERS))


@pytest.fixture
def unmarked(tmp_path: Path) -> EntityTokenizer:
    return EntityTokenizer(bert(tmp_path, VOCABULARY))


def bare_ids(tokenizer: EntityTokenizer, text: str) -> list[int]:
    return list(tokenizer.tokenizer(text, add_special_tokens=False)["input_ids"])


def tokens(tokenizer: EntityTokenizer, ids: list[int]) -> list[str]:
    return list(tokenizer.tokenizer.convert_ids_to_tokens(ids))


def holds(ids: list[int], part: list[int]) -> bool:
    return any(ids[place : place + len(part)] == part for place in range(len(ids) - len(part) + 1))


@checked
@given(mention=mentions(), max_length=MAX_LENGTH)
def test_mention_ids_are_never_longer_than_max_length(
    tokenizer: EntityTokenizer, mention: Mention, max_length: int
) -> None:
    tokenizer.max_length = max_length
    assert len(tokenizer.mention_ids([mention])[0]) <= max_length


@checked
@given(mention=mentions(), max_length=MAX_LENGTH)
def test_mention_ids_begin_with_cls_and_end_with_sep(
    tokenizer: EntityTokenizer, mention: Mention, max_length: int
) -> None:
    tokenizer.max_length = max_length
    ids = tokenizer.mention_ids([mention])[0]
    assert (ids[0], ids[-1]) == (tokenizer.tokenizer.cls_token_id, tokenizer.tokenizer.sep_token_id)


@checked
@given(place=st.integers(0, 400), surface=st.text(alphabet="大鹏", min_size=1, max_size=9), size=st.integers(30, 60))
def test_mention_ids_keep_markers_and_mention_anywhere_in_a_long_text(
    tokenizer: EntityTokenizer, place: int, surface: str, size: int
) -> None:
    tokenizer.max_length = size
    text = "董" * place + surface + "唱" * (400 - place)
    ids = tokenizer.mention_ids([Mention(text, place, place + len(surface))])[0]
    assert holds(ids, bare_ids(tokenizer, f"{MENTION_START} {surface} {MENTION_END}"))


@checked
@given(place=st.integers(0, 400), size=st.integers(30, 60))
def test_mention_ids_of_a_long_text_fill_the_window(tokenizer: EntityTokenizer, place: int, size: int) -> None:
    tokenizer.max_length = size
    text = "董" * place + "大鹏" + "唱" * (400 - place)
    assert len(tokenizer.mention_ids([Mention(text, place, place + 2)])[0]) == size


@checked
@given(mention=mentions(), a=SPACE, b=SPACE, c=SPACE, d=SPACE, max_length=MAX_LENGTH)
def test_mention_ids_ignore_white_space_around_markers(
    tokenizer: EntityTokenizer, mention: Mention, a: str, b: str, c: str, d: str, max_length: int
) -> None:
    tokenizer.max_length = max_length
    left, right = mention.text[: mention.start], mention.text[mention.end :]
    spaced = f"{left}{a}{MENTION_START}{b}{mention.surface}{c}{MENTION_END}{d}{right}"
    tight = f"{left.rstrip()}{MENTION_START}{mention.surface.strip()}{MENTION_END}{right.lstrip()}"
    assert tokenizer.mention_ids([spaced]) == tokenizer.mention_ids([tight])


@checked
@given(mention=mentions(), max_length=MAX_LENGTH)
def test_mention_ids_are_the_same_for_offsets_and_for_markers(
    tokenizer: EntityTokenizer, mention: Mention, max_length: int
) -> None:
    tokenizer.max_length = max_length
    assert tokenizer.mention_ids([mention]) == tokenizer.mention_ids([mark_mention(mention)])


@checked
@given(mention=mentions())
def test_mention_ids_equal_the_tokenizer_on_the_marked_text_when_it_fits(
    tokenizer: EntityTokenizer, mention: Mention
) -> None:
    tokenizer.max_length = 500
    assert tokenizer.mention_ids([mention])[0] == tokenizer.tokenizer(mark_mention(mention))["input_ids"]


@checked
@given(items=st.lists(st.one_of(mentions(), CONTEXT), max_size=6))
def test_mention_ids_of_many_are_those_of_each(tokenizer: EntityTokenizer, items: list[str | Mention]) -> None:
    tokenizer.max_length = 32
    assert tokenizer.mention_ids(items) == [tokenizer.mention_ids([item])[0] for item in items]


@checked
@given(text=CONTEXT, max_length=MAX_LENGTH)
def test_mention_ids_of_a_plain_text_equal_the_tokenizers_own_truncation(
    tokenizer: EntityTokenizer, text: str, max_length: int
) -> None:
    tokenizer.max_length = max_length
    own = tokenizer.tokenizer(text, truncation=True, max_length=max_length)["input_ids"]
    assert tokenizer.mention_ids([text])[0] == own


@checked
@given(text=CONTEXT, max_length=MAX_LENGTH)
def test_entity_ids_equal_the_tokenizers_own_truncation(tokenizer: EntityTokenizer, text: str, max_length: int) -> None:
    tokenizer.max_length = max_length
    own = tokenizer.tokenizer(text, truncation=True, max_length=max_length)["input_ids"]
    assert tokenizer.entity_ids([text])[0] == own


def test_mention_ids_centre_the_window_on_the_mention(marked: EntityTokenizer) -> None:
    marked.max_length = 11
    mention = Mention("董" * 50 + "大鹏" + "唱" * 50, 50, 52)
    around = ["[CLS]", "董", "董", MENTION_START, "大", "鹏", MENTION_END, "唱", "唱", "唱", "[SEP]"]
    assert tokens(marked, marked.mention_ids([mention])[0]) == around


def test_mention_ids_shorten_a_mention_longer_than_the_window_inside_the_markers(marked: EntityTokenizer) -> None:
    marked.max_length = 7
    ids = marked.mention_ids([Mention("在" + "大鹏" * 50 + "唱", 1, 101)])[0]
    assert tokens(marked, ids) == ["[CLS]", MENTION_START, "大", "鹏", "大", MENTION_END, "[SEP]"]


def test_mention_ids_have_each_marker_as_one_token_when_the_vocabulary_has_it(marked: EntityTokenizer) -> None:
    found = tokens(marked, marked.mention_ids(["在 [ENT_S] 大鹏 [ENT_E] 唱"])[0])
    assert found == ["[CLS]", "在", MENTION_START, "大", "鹏", MENTION_END, "唱", "[SEP]"]


def test_mention_ids_spell_the_markers_out_when_the_vocabulary_lacks_them(unmarked: EntityTokenizer) -> None:
    ids = unmarked.mention_ids(["在[ENT_S]大鹏[ENT_E]唱"])[0]
    assert ids == unmarked.tokenizer("在 [ENT_S] 大鹏 [ENT_E] 唱")["input_ids"]


def test_mention_ids_of_nothing_are_empty(tokenizer: EntityTokenizer) -> None:
    assert (tokenizer.mention_ids([]), tokenizer.entity_ids([])) == ([], [])


def test_mention_ids_of_an_empty_text_are_only_special_tokens(marked: EntityTokenizer) -> None:
    assert tokens(marked, marked.mention_ids([""])[0]) == ["[CLS]", "[SEP]"]


def test_mention_prefix_stands_before_a_marked_text(marked: EntityTokenizer) -> None:
    marked.mention_prefix = "查询："
    found = tokens(marked, marked.mention_ids(["[ENT_S] 大鹏 [ENT_E]"])[0])
    assert found == ["[CLS]", "查", "询", "：", MENTION_START, "大", "鹏", MENTION_END, "[SEP]"]


def test_mention_prefix_stands_before_a_plain_text(marked: EntityTokenizer) -> None:
    marked.mention_prefix = "查询："
    assert tokens(marked, marked.mention_ids(["大鹏"])[0]) == ["[CLS]", "查", "询", "：", "大", "鹏", "[SEP]"]


def test_mention_prefix_leaves_entity_texts_alone(marked: EntityTokenizer) -> None:
    marked.mention_prefix = "查询："
    assert tokens(marked, marked.entity_ids(["大鹏"])[0]) == ["[CLS]", "大", "鹏", "[SEP]"]


def test_entity_prefix_stands_before_an_entity_text(tmp_path: Path) -> None:
    tokenizer = EntityTokenizer(bert(tmp_path, VOCABULARY), 128, entity_prefix="演员：")
    assert tokens(tokenizer, tokenizer.entity_ids(["大鹏"])[0]) == ["[CLS]", "演", "员", "：", "大", "鹏", "[SEP]"]


@pytest.mark.parametrize("item", [None, 5, b"abc", ["大鹏"], {"text": "大鹏"}])
def test_mention_ids_name_the_place_of_an_item_that_is_no_text(marked: EntityTokenizer, item: Any) -> None:
    with pytest.raises(InputTypeError, match="text 1 must be a string or a Mention"):
        marked.mention_ids(["大鹏", item])


@pytest.mark.parametrize("item", [None, 5, b"abc", Mention("大鹏", 0, 2)])
def test_entity_ids_name_the_place_of_an_item_that_is_no_text(marked: EntityTokenizer, item: Any) -> None:
    with pytest.raises(InputTypeError, match="entity text 1 must be a string"):
        marked.entity_ids(["大鹏", item])


def test_mention_ids_name_the_place_of_broken_markers(marked: EntityTokenizer) -> None:
    with pytest.raises(InputError, match=r"text 1: 1 \[ENT_S\] and 0 \[ENT_E\]"):
        marked.mention_ids(["大鹏", "[ENT_S] 大鹏"])


@pytest.mark.parametrize("max_length", [4, 0, -1])
def test_max_length_too_small_for_a_mention_is_refused(tmp_path: Path, max_length: int) -> None:
    with pytest.raises(InputError, match="it must be at least 5"):
        EntityTokenizer(bert(tmp_path, VOCABULARY + MARKERS), max_length)


def test_max_length_just_large_enough_keeps_one_token_of_the_mention(marked: EntityTokenizer) -> None:
    marked.max_length = 5
    found = tokens(marked, marked.mention_ids(["在 [ENT_S] 大鹏 [ENT_E] 唱"])[0])
    assert found == ["[CLS]", MENTION_START, "大", MENTION_END, "[SEP]"]


def test_max_length_counts_the_spelled_out_markers(unmarked: EntityTokenizer) -> None:
    least = len(bare_ids(unmarked, "[ENT_S] [ENT_E]")) + 3
    with pytest.raises(InputError, match=f"it must be at least {least}"):
        unmarked.max_length = least - 1


@pytest.mark.parametrize("max_length", [True, 32.0, "32", None])
def test_max_length_that_is_no_integer_is_refused(marked: EntityTokenizer, max_length: Any) -> None:
    with pytest.raises(InputTypeError, match="must be an integer"):
        marked.max_length = max_length


def test_max_length_keeps_its_value_when_a_new_one_is_refused(marked: EntityTokenizer) -> None:
    with pytest.raises(InputError):
        marked.max_length = 1
    assert marked.max_length == 128


def test_has_markers_tells_the_vocabularies_apart(marked: EntityTokenizer, tmp_path: Path) -> None:
    assert (marked.has_markers, EntityTokenizer(bert(tmp_path, VOCABULARY)).has_markers) == (True, False)


@pytest.mark.parametrize(("tokens", "new"), [(VOCABULARY, 2), (VOCABULARY + MARKERS, 0)])
def test_declare_markers_adds_what_is_new_to_the_vocabulary(tmp_path: Path, tokens: list[str], new: int) -> None:
    tokenizer = bert(tmp_path, tokens)
    before = len(tokenizer)
    declare_markers(tokenizer)
    assert len(tokenizer) == before + new


def test_declare_markers_keeps_the_ids_of_known_markers(tmp_path: Path) -> None:
    tokenizer = bert(tmp_path, VOCABULARY + MARKERS)
    declare_markers(tokenizer)
    assert tokenizer.convert_tokens_to_ids(MARKERS) == [len(VOCABULARY), len(VOCABULARY) + 1]


def test_pad_fills_up_to_the_longest(marked: EntityTokenizer) -> None:
    padded = marked.pad([[2, 7, 3], [2, 3]])
    assert padded["input_ids"].tolist() == [[2, 7, 3], [2, 3, marked.pad_token_id]]


def test_pad_masks_what_it_fills_up(marked: EntityTokenizer) -> None:
    assert marked.pad([[2, 7, 3], [2, 3]])["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 0]]


def test_pad_gives_int64(marked: EntityTokenizer) -> None:
    assert {values.dtype for values in marked.pad([[2, 3]]).values()} == {np.dtype(np.int64)}


def test_a_book_around_a_mention_is_not_tokenised_whole(
    marked: EntityTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    tokenize = marked.text_ids
    monkeypatch.setattr(marked, "text_ids", lambda texts: seen.extend(map(len, texts)) or tokenize(texts))
    book = "董" * 300_000
    ids = marked.mention_ids([Mention(f"{book}大鹏{book}", 300_000, 300_002)])[0]
    assert len(ids) == marked.max_length
    assert max(seen) <= 128 * marked.max_length


def test_a_tokenizer_without_limit_cuts_nothing_and_leaves_the_window_of_the_first_as_it_is(
    marked: EntityTokenizer,
) -> None:
    short = EntityTokenizer(marked.tokenizer, 16, "大", "鹏")
    wide = short.without_limit()
    text = "董成鹏" * 1000
    assert len(wide.entity_ids([text])[0]) == 1 + 1 + 3000 + 1
    assert (wide.mention_prefix, wide.entity_prefix) == ("大", "鹏")
    assert len(short.entity_ids([text])[0]) == 16
