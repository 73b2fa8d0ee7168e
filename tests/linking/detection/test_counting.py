"""Counting how often names are mentions, and what the dictionary then finds."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelscope_plugin.data import Document, Mention
from modelscope_plugin.errors import IndexFolderError
from modelscope_plugin.linking.detection.counting import count_mentions
from modelscope_plugin.linking.detection.detectors import make_detector
from modelscope_plugin.retrieval import EntityIndex


def document(text: str, *words: str) -> Document:
    spans = [(text.index(word), text.index(word) + len(word)) for word in words]
    return Document(text, tuple(Mention(text, *span) for span in spans))


TEXTS = [
    *[document(f"第{number}个苹果很好吃") for number in range(6)],
    *[document(f"第{number}次看大鹏演小品", "大鹏") for number in range(6)],
    *[document(f"吃着苹果看迷失北京{number}", "迷失北京") for number in range(2)],
    document("宋小宝和大鹏", "宋小宝", "大鹏"),
]


def test_names_of_the_index_and_words_of_the_texts_are_counted(index: EntityIndex) -> None:
    counts = count_mentions(index, TEXTS)
    assert counts == {"苹果": (8, 0), "大鹏": (7, 7), "迷失北京": (2, 2), "宋小宝": (1, 1)}
    assert index.lexicon.link_counts == counts


def test_records_of_one_text_are_one_text(index: EntityIndex) -> None:
    text = "大鹏和苹果"
    assert count_mentions(index, [document(text, "大鹏"), document(text, "苹果")]) == {"大鹏": (1, 1), "苹果": (1, 1)}


def test_what_is_seldom_a_mention_is_no_longer_found(index: EntityIndex) -> None:
    detector = make_detector("dictionary", index)
    assert detector is not None
    text = "宋小宝请大鹏吃苹果"
    assert [text[slice(*span)] for span in detector.detect([text])[0]] == ["大鹏", "苹果"]
    count_mentions(index, TEXTS)
    assert [text[slice(*span)] for span in detector.detect([text])[0]] == ["宋小宝", "大鹏"]


def test_counts_are_kept_in_the_folder_and_through_a_change(index: EntityIndex, tmp_path: Path) -> None:
    counts = count_mentions(index, TEXTS)
    index.save(tmp_path / "index")
    again = EntityIndex.load(tmp_path / "index", verify=True)
    again.remove(["roc"])
    assert again.lexicon.link_counts == counts
    again.save(tmp_path / "index")
    assert EntityIndex.load(tmp_path / "index").lexicon.link_counts == counts


@pytest.mark.parametrize("content", ["[]", '{"a": [1]}', '{"a": [1, 2]}', '{"a": [true, 0]}', '{"a": "12"}', "{", "7"])
def test_damaged_counts_are_named(index: EntityIndex, tmp_path: Path, content: str) -> None:
    from modelscope_plugin.retrieval.lexical.lexicon import Lexicon

    path = tmp_path / "link_counts.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(IndexFolderError, match=r"link_counts\.json is damaged"):
        _ = Lexicon(index.knowledge_base, [path]).link_counts
