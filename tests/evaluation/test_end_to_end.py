"""Figures of detecting and linking."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelscope_plugin.data import Mention
from modelscope_plugin.evaluation.end_to_end import Prediction, SpanFigures, score_end_to_end

TEXT = "小品里大鹏很好笑，苹果也好吃"
GOLDS = [Mention(TEXT, 3, 5, ("dapeng",)), Mention(TEXT, 9, 11, (), "NIL")]


def counts(figures: SpanFigures) -> tuple[int, int, int]:
    return figures.correct, figures.predicted, figures.gold


@pytest.mark.parametrize(
    ("predicted", "mentions", "linked", "with_nil"),
    [
        ([], (0, 0, 2), (0, 0, 1), (0, 0, 2)),
        ([Prediction(3, 5, "dapeng"), Prediction(9, 11, None)], (2, 2, 2), (1, 1, 1), (2, 2, 2)),
        ([Prediction(3, 5, "roc"), Prediction(9, 11, "apple")], (2, 2, 2), (0, 2, 1), (0, 2, 2)),
        ([Prediction(3, 5, None), Prediction(0, 2, "x")], (1, 2, 2), (0, 1, 1), (0, 2, 2)),
        ([Prediction(3, 6, "dapeng")], (0, 1, 2), (0, 1, 1), (0, 1, 2)),
    ],
)
def test_counts(
    predicted: list[Prediction],
    mentions: tuple[int, int, int],
    linked: tuple[int, int, int],
    with_nil: tuple[int, int, int],
) -> None:
    result = score_end_to_end([predicted], [GOLDS])
    assert (counts(result.mentions), counts(result.linked), counts(result.linked_with_nil)) == (
        mentions, linked, with_nil,
    )  # fmt: skip


def test_any_of_several_gold_entities_is_right_also_over_several_records() -> None:
    golds = [Mention(TEXT, 3, 5, ("a", "b")), Mention(TEXT, 3, 5, ("c",))]
    for entity_id in "abc":
        assert counts(score_end_to_end([[Prediction(3, 5, entity_id)]], [golds]).linked) == (1, 1, 1)


def test_seen_and_unseen_mentions() -> None:
    result = score_end_to_end([[Prediction(3, 5, "dapeng")]], [GOLDS], seen_surfaces={"大鹏"})
    assert (result.seen, result.unseen) == (1.0, 0.0)
    assert score_end_to_end([[]], [GOLDS]).seen is None


@given(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9))
def test_precision_recall_and_f1(correct: int, wrong: int, missed: int) -> None:
    figures = SpanFigures.of_counts(correct, correct + wrong, correct + missed)
    if correct:
        assert figures.precision == correct / (correct + wrong)
        assert figures.recall == correct / (correct + missed)
        assert figures.f1 == pytest.approx(2 * correct / (2 * correct + wrong + missed))
    else:
        assert (figures.precision, figures.recall, figures.f1) == (0, 0, 0)
