"""Fitting the threshold of the dictionary detector."""

from __future__ import annotations

import pytest

from modelscope_plugin.data import Document, Mention
from modelscope_plugin.errors import InputError
from modelscope_plugin.evaluation.fitting.fit_detection import fit_detection
from modelscope_plugin.linking.detection.counting import count_mentions
from modelscope_plugin.linking.detection.detectors import make_detector
from modelscope_plugin.retrieval import EntityIndex, Fitted


def documents(word: str, mentions: int, others: int) -> list[Document]:
    texts = [f"{number}看{word}" for number in range(mentions + others)]
    marked = [Document(text, (Mention(text, text.index(word), len(text)),)) for text in texts[:mentions]]
    return [*marked, *(Document(text, ()) for text in texts[mentions:])]


@pytest.fixture
def counted(index: EntityIndex) -> EntityIndex:
    count_mentions(index, [*documents("大鹏", 18, 2), *documents("苹果", 8, 12), *documents("长江", 1, 19)])
    return index


DEV = [*documents("大鹏", 9, 1), *documents("苹果", 4, 6), *documents("长江", 0, 10)]


def test_threshold_of_the_best_f1_is_kept_and_used(counted: EntityIndex) -> None:
    threshold, figures = fit_detection(counted, DEV)
    # 大鹏 alone: 9 of 10 found are right, 9 of 13 found; with 苹果: 13 of 20, all.
    assert (figures.correct, figures.predicted, figures.gold) == (13, 20, 13)
    assert counted.fitted.detection_threshold == threshold
    assert Fitted.from_record(counted.fitted.to_record()).detection_threshold == threshold
    detector = make_detector("dictionary", counted)
    assert detector is not None
    assert detector.detect(["看大鹏", "看苹果", "看长江"]) == [[(1, 3)], [(1, 3)], []]


def test_wanted_precision(counted: EntityIndex) -> None:
    _, figures = fit_detection(counted, DEV, precision=0.9)
    assert (figures.correct, figures.predicted) == (9, 10)
    with pytest.raises(InputError, match=r"precision of 0\.95 is reached at no threshold; the best is 0\.900"):
        fit_detection(counted, DEV, precision=0.95)


def test_what_is_missing_is_said(index: EntityIndex, counted: EntityIndex) -> None:
    with pytest.raises(InputError, match="none of the 1 texts has a mention"):
        fit_detection(counted, [Document("看大鹏", ())])
    index.lexicon.link_counts = {}
    with pytest.raises(InputError, match="--count-mentions"):
        fit_detection(index, DEV)
