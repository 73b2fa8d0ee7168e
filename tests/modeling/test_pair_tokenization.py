from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from transformers import BertTokenizerFast

from modelscope_plugin.data import Mention, mark_mention
from modelscope_plugin.errors import InputError, InputTypeError
from modelscope_plugin.modeling.checkpoint_files import load_entity_tokenizer, load_pair_tokenizer
from modelscope_plugin.modeling.pair_tokenization import PairTokenizer
from modelscope_plugin.modeling.tokenization import EntityTokenizer

TEXTS = st.text("大鹏苹果长江，abc 手机", max_size=40)


def _tokenizer(folder: Path, max_length: int = 128, **prefixes: str) -> PairTokenizer:
    raw = load_entity_tokenizer(folder).tokenizer
    return PairTokenizer(EntityTokenizer(raw, max_length, **prefixes))


@st.composite
def mentions(draw: st.DrawFn) -> Mention:
    """A text with a span that holds more than blanks."""
    text = draw(TEXTS)
    start, end = sorted((draw(st.integers(0, len(text))), draw(st.integers(0, len(text)))))
    assume(text[start:end].strip())
    return Mention(text, start, end)


@given(mention=mentions(), text=TEXTS)
def test_pair_that_fits_is_what_the_tokenizer_makes(base_folder: Path, mention: Mention, text: str) -> None:
    tokenizer = _tokenizer(base_folder)
    expected = tokenizer.tokenizer.tokenizer([mark_mention(mention)], [text])
    pairs = tokenizer.pair_ids([mention], [text])
    assert [pair.input_ids for pair in pairs] == expected["input_ids"]
    assert [pair.token_type_ids for pair in pairs] == expected["token_type_ids"]


@given(first=TEXTS, second=TEXTS, max_length=st.integers(8, 40))
def test_plain_texts_are_cut_as_longest_first_does(base_folder: Path, first: str, second: str, max_length: int) -> None:
    tokenizer = _tokenizer(base_folder, max_length)
    raw = tokenizer.tokenizer.tokenizer
    expected = raw([first], [second], truncation="longest_first", max_length=max_length)
    pairs = tokenizer.pair_ids([first], [second])
    assert [pair.input_ids for pair in pairs] == expected["input_ids"]


@given(mention=mentions(), text=TEXTS, max_length=st.integers(8, 40))
def test_window_keeps_markers_mention_and_entity(
    base_folder: Path, mention: Mention, text: str, max_length: int
) -> None:
    tokenizer = _tokenizer(base_folder, max_length)
    start, end = tokenizer.tokenizer.text_ids(["[ENT_S]", "[ENT_E]"])
    (pair,) = tokenizer.pair_ids([mention], [text])
    assert len(pair.input_ids) == len(pair.token_type_ids) <= max_length
    inside = pair.input_ids[pair.input_ids.index(start[0]) + 1 : pair.input_ids.index(end[0])]
    (surface, entity) = tokenizer.tokenizer.text_ids([mention.surface.strip(), text])
    assert inside == surface[: len(inside)]
    assert inside
    kept = [token for token, kind in zip(pair.input_ids, pair.token_type_ids, strict=True) if kind][:-1]
    assert kept == entity[: len(kept)]
    assert bool(kept) == bool(entity)


def test_shorter_side_leaves_its_room_to_the_other(base_folder: Path) -> None:
    tokenizer = _tokenizer(base_folder, 20)
    (short_entity, short_mention) = tokenizer.pair_ids(
        [Mention("长" * 30 + "大鹏" + "江" * 30, 30, 32), Mention("大鹏", 0, 2)], ["苹果", "苹" * 60]
    )
    assert [sum(short_entity.token_type_ids), sum(short_mention.token_type_ids)] == [3, 14]
    assert len(short_entity.input_ids) == len(short_mention.input_ids) == 20


def test_long_mention_side_is_centred_on_the_mention(base_folder: Path) -> None:
    tokenizer = _tokenizer(base_folder, 23)
    (pair,) = tokenizer.pair_ids([Mention("长" * 30 + "大鹏" + "江" * 30, 30, 32)], ["苹" * 60])
    text = tokenizer.tokenizer.tokenizer.decode(pair.input_ids, skip_special_tokens=False)
    assert text.replace(" ", "") == "[CLS]长长长[ENT_S]大鹏[ENT_E]江江江[SEP]" + "苹" * 10 + "[SEP]"


def test_prefixes_are_never_cut(base_folder: Path) -> None:
    tokenizer = _tokenizer(base_folder, 14, mention_prefix="ab", entity_prefix="bc")
    (pair,) = tokenizer.pair_ids([Mention("长" * 30 + "大鹏", 30, 32)], ["苹" * 60])
    text = tokenizer.tokenizer.tokenizer.decode(pair.input_ids, skip_special_tokens=False).replace(" ", "")
    assert text.startswith("[CLS]ab")
    assert "[SEP]bc苹" in text


def test_equal_items_are_tokenised_once(base_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = _tokenizer(base_folder)
    seen: list[str] = []
    text_ids = tokenizer.tokenizer.text_ids
    monkeypatch.setattr(tokenizer.tokenizer, "text_ids", lambda texts: seen.extend(texts) or text_ids(texts))
    mention = Mention("小品大鹏", 2, 4)
    pairs = tokenizer.pair_ids([mention] * 3, ["苹果", "长江", "苹果"])
    assert sorted(seen) == sorted(["小品", "大鹏", "", "苹果", "长江"])
    assert pairs[0] == pairs[2] != pairs[1]


def test_pad_fills_up_to_the_longest(base_folder: Path) -> None:
    tokenizer = _tokenizer(base_folder)
    padded = tokenizer.pad(tokenizer.pair_ids(["大", "大"], ["鹏", "鹏苹果"]))
    assert padded["attention_mask"].tolist() == [[1, 1, 1, 1, 1, 0, 0], [1] * 7]
    assert padded["token_type_ids"].tolist() == [[0, 0, 0, 1, 1, 0, 0], [0, 0, 0, 1, 1, 1, 1]]
    assert padded["input_ids"][0, 5:].tolist() == [0, 0]


def test_tokenizer_without_segments_gets_no_token_types(base_folder: Path) -> None:
    raw = BertTokenizerFast.from_pretrained(base_folder, model_input_names=["input_ids", "attention_mask"])
    tokenizer = PairTokenizer(EntityTokenizer(raw))
    assert set(tokenizer.pad(tokenizer.pair_ids(["大"], ["鹏"]))) == {"input_ids", "attention_mask"}


def test_two_separators_of_roberta_stand_between_the_texts(base_folder: Path) -> None:
    from tokenizers.processors import RobertaProcessing

    raw = BertTokenizerFast.from_pretrained(base_folder)
    raw.backend_tokenizer.post_processor = RobertaProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer = PairTokenizer(EntityTokenizer(raw))
    (pair,) = tokenizer.pair_ids(["大鹏"], ["苹果"])
    assert pair.input_ids == raw("大鹏", "苹果")["input_ids"]
    assert pair.input_ids.count(3) == 3


def test_window_without_room_for_a_pair_raises(base_folder: Path) -> None:
    with pytest.raises(InputError, match=r"max_length=6 leaves no room for a mention and an entity text.* at least 7"):
        _tokenizer(base_folder, 6)
    tokenizer = _tokenizer(base_folder, 7)
    tokenizer.tokenizer.max_length = 5
    with pytest.raises(InputError, match="max_length=5 leaves no room"):
        tokenizer.pair_ids(["大"], ["鹏"])


def test_tokenizer_that_does_not_join_texts_raises(base_folder: Path) -> None:
    class OneText(BertTokenizerFast):  # type: ignore[misc]
        def __call__(self, text: str, text_pair: str | None = None, **options: Any) -> Any:
            return super().__call__(text, **options)

    with pytest.raises(InputError, match="does not join two texts"):
        PairTokenizer(EntityTokenizer(OneText.from_pretrained(base_folder)))


@pytest.mark.parametrize(
    ("first", "second", "error", "message"),
    [
        (["大"], [], InputError, "1 mentions and 0 entity texts"),
        (["大", "大", "[ENT_S]大"], ["鹏"] * 3, InputError, "text 2"),
        (["大"], [None], InputTypeError, "entity text 0 must be a string"),
        ([["大"]], ["鹏"], InputTypeError, "a pair holds a mention and an entity text"),
    ],
)
def test_items_that_cannot_be_used_raise(
    base_folder: Path, first: list[str], second: list[str], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        _tokenizer(base_folder).pair_ids(first, second)


def test_window_comes_from_the_folder(base_folder: Path, tmp_path: Path) -> None:
    raw = load_entity_tokenizer(base_folder).tokenizer
    (tmp_path / "config.json").write_bytes((base_folder / "config.json").read_bytes())
    raw.save_pretrained(tmp_path)
    assert load_pair_tokenizer(tmp_path).max_length == 128
    raw.model_max_length = 90
    raw.save_pretrained(tmp_path)
    assert load_pair_tokenizer(tmp_path).max_length == 90
    (tmp_path / "configuration.json").write_text('{"preprocessor": {"max_length": 70}}')
    assert load_pair_tokenizer(tmp_path).max_length == 70
    assert load_pair_tokenizer(tmp_path, 50).max_length == 50
