from __future__ import annotations

from modelscope_plugin.data import Mention
from modelscope_plugin.evaluation.nil_figures import score_nil

NIL = [Mention("宋小宝上演", 0, 3, nil="NIL_Person"), Mention("美人鱼登场", 0, 3, nil="NIL_Work")]


def test_figures_are_those_of_the_labels() -> None:
    mentions = [Mention("甲", 0, 1, ("a",)), Mention("乙", 0, 1, ("b",)), Mention("丙", 0, 1, ("c",)), *NIL]
    result = score_nil([False, False, True, True, False], ["a", "x", "c", None, "y"], mentions, 0.5)
    assert result is not None
    assert (result.accuracy, result.precision, result.recall, result.f1) == (0.4, 0.5, 0.5, 0.5)
    assert result.recall_by_type == {"NIL_Person": 1.0, "NIL_Work": 0.0}
    assert result.to_record()["nil_recall_NIL_Person"] == 1.0


def test_without_nil_labels_there_are_no_figures() -> None:
    assert score_nil([False], ["a"], [Mention("甲", 0, 1, ("a",))], 0.5) is None
