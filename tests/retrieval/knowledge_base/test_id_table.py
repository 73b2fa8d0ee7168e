from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from modelscope_plugin.retrieval.knowledge_base import IdTable

IDS = st.sets(st.integers(0, 12).map(str), max_size=6)


@given(st.lists(st.tuples(IDS, IDS), max_size=5))
def test_replaced_tables_hold_the_ids_of_lists(changes: list[tuple[set[str], set[str]]]) -> None:
    table, expected = IdTable(), list[str]()
    for gone, new in changes:
        removed = [one for one in expected if one in gone | new]
        added = sorted(new)
        before = table, list(expected)
        table = table.replace(removed, added)
        expected = [one for one in expected if one not in removed] + added
        assert (table.ids, before[0].ids) == (expected, before[1])
        assert table.rows(expected).tolist() == list(range(len(expected)))
        assert [one in table for one in (*expected, "x")] == [True] * len(expected) + [False]


def test_owners_who_make_the_same_change_share_the_next_table() -> None:
    table = IdTable(["a", "b"])
    following = table.replace(["a"], ["c"])
    assert table.replace(["a"], ["c"]) is following
    assert table.replace(["a"], ["d"]).ids == ["b", "d"]
