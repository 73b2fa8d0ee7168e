from __future__ import annotations

from modelscope_plugin.data import Mention
from modelscope_plugin.data.golds import merge_golds


def test_records_of_one_span_get_the_golds_of_all() -> None:
    records = [
        Mention("苹果很好", 0, 2, ("a",)), Mention("苹果很好", 2, 4, ("c",)), Mention("苹果很好", 0, 2, ("b", "a")),
        Mention("苹果很好", 0, 2, nil="NIL"), Mention("苹果", 0, 2, ("d",)),
    ]  # fmt: skip
    golds = [(mention.entity_ids, mention.nil) for mention in merge_golds(records)]
    assert golds == [(("a", "b"), None), (("c",), None), (("b", "a"), None), (("a", "b"), None), (("d",), None)]


def test_records_of_different_spans_stay_as_they_are() -> None:
    records = [Mention("苹果", 0, 2, ("a",)), Mention("苹果", 0, 1, nil="NIL"), Mention("苹果", 1, 2)]
    assert merge_golds(iter(records)) == records
