from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelscope_plugin.data import Entity, entity_text
from modelscope_plugin.data.entity_text import MAX_CHARACTERS
from modelscope_plugin.data.views import ViewSettings, entity_parts, entity_views
from modelscope_plugin.errors import InputError

TEXT = st.text(st.sampled_from("苹果大鹏ab 。！.?\n；1"), max_size=40)
ENTITIES = st.builds(
    Entity,
    st.just("Q1"),
    TEXT,
    st.lists(TEXT, max_size=3).map(tuple),
    st.lists(TEXT, max_size=2).map(tuple),
    TEXT,
    st.lists(st.tuples(TEXT, TEXT), max_size=6).map(tuple),
)


def test_views_are_the_whole_then_name_with_each_sentence_and_fact() -> None:
    entity = Entity(
        "Q1", "董成鹏", ("大鹏",), ("Person",), "内地演员。导演过《煎饼侠》！", (("代表作", "煎饼侠"), ("籍贯", "吉林"))
    )
    assert entity_views(entity, 8) == [
        entity_text(entity),
        "董成鹏; 内地演员。",
        "董成鹏; 导演过《煎饼侠》！",
        "董成鹏; 代表作： 煎饼侠",
        "董成鹏; 籍贯： 吉林",
    ]


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("他说：“好。”然后走了。", ["他说：“好。”", "然后走了。"]),
        ("真的吗？！是的……好", ["真的吗？！", "是的……", "好"]),
        ("Version 3.5 of J. R. Smith is at x.org. It has n! steps. Done",
         ["Version 3.5 of J. R. Smith is at x.org.", "It has n! steps.", "Done"]),
        ("第一行\n\n第二行", ["第一行", "第二行"]),
        ("没有句号", ["没有句号"]),
        (" \n 。", ["。"]),
    ],
)  # fmt: skip
def test_description_is_cut_at_chinese_and_latin_sentence_ends(text: str, sentences: list[str]) -> None:
    assert list(entity_parts(Entity("Q1", "名", (), (), text), 99).texts) == sentences


def test_short_facts_stay_whole_and_long_ones_are_cut_into_sentences() -> None:
    abstract = "这是一句话。" * 40
    parts = entity_parts(Entity("Q1", "名", facts=(("摘要", abstract), ("引入", "一句。又一句。"))), 99).texts
    assert parts == ("摘要： 这是一句话。",) * 40 + ("引入： 一句。又一句。",)


@given(ENTITIES, st.integers(1, 9))
def test_views_are_bounded_and_never_empty(entity: Entity, max_views: int) -> None:
    views = entity_views(entity, max_views)
    assert 1 <= len(views) <= max_views
    assert views[0] == entity_text(entity)
    assert all(view.startswith(entity.name.strip()) and len(view) <= MAX_CHARACTERS for view in views)
    assert all(view.strip() for view in views)


@given(ENTITIES, st.integers(2, 9))
def test_grouped_views_hold_all_parts_in_order(entity: Entity, max_views: int) -> None:
    alone, together = entity_parts(entity, 99).texts, entity_parts(entity, max_views).texts
    assert len(together) == min(len(alone), max_views - 1)
    text, start = "".join(together), 0
    for part in alone:
        start = text.index(part, start) + len(part)


def test_one_view_is_the_whole_alone() -> None:
    assert entity_views(Entity("Q1", "名", (), (), "一句。又一句。"), 1) == ["名; 一句。又一句。"]


@pytest.mark.parametrize("entity", [Entity("Q1", "名"), Entity("Q1", "", facts=(("", ""), ("空", " ")))])
def test_entity_without_text_has_the_whole_alone(entity: Entity) -> None:
    assert entity_views(entity, 8) == [entity_text(entity)]


@pytest.mark.parametrize(
    "entity",
    [
        Entity("Q1", "名", (), (), "一句话。" * 300_000),
        Entity("Q1", "名", (), (), "没有句号" * 300_000),
        Entity("Q1", "名", facts=(("事实", "值" * 1_000_000),)),
        Entity("Q1", "名", facts=(("事实", "值"),) * 300_000),
    ],
)
def test_endless_text_is_bounded_and_said_to_be_cut(entity: Entity) -> None:
    parts = entity_parts(entity, 8)
    assert len(parts.texts) == 7
    assert sum(map(len, parts.texts)) < 11 * MAX_CHARACTERS
    assert parts.cut


def test_a_million_aliases_leave_the_views_bounded() -> None:
    entity = Entity("Q1", "名", tuple(f"别名{number}" for number in range(1_000_000)), (), "一句。又一句。")
    views = entity_views(entity, 8)
    assert (len(views), max(map(len, views))) == (3, MAX_CHARACTERS)
    assert not entity_parts(entity, 8).cut


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"max_views": 0}, "max_views=0 must be an integer of at least 1"),
        ({"max_views": True}, "max_views=True"),
        ({"max_views": 4, "merge_rounds": -1}, "merge_rounds=-1"),
        ({"max_views": 2, "merge_rounds": 1}, "merge_rounds=1 needs max_views of at least 3"),
        ({"merge_share": 0}, "merge_share=0 must be a finite number above 0"),
        ({"merge_share": "half"}, "merge_share='half' must be a number"),
        ({"merge_share": float("nan")}, "merge_share=nan must be a finite number above 0"),
        ({"merge_share": -0.5}, "merge_share=-0.5 must be a finite number above 0"),
        ({"view_scores": "mean"}, "unknown view_scores 'mean'; choose from max, sum"),
        ({"view_scores": "sum", "temperature": 0}, "temperature=0 must be a finite number above 0"),
        ({"max_views": float("nan")}, "max_views=nan must be an integer"),
        ({"max_views": 4, "merge_rounds": float("nan")}, "merge_rounds=nan must be an integer"),
    ],
)
def test_bad_settings_are_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ViewSettings(**values)


def test_long_run_of_dots_is_one_sentence_and_read_once() -> None:
    views = entity_views(Entity("a", "名", description="." * 200_000 + " 完。"), 4)
    assert len(views) == 4


@pytest.mark.parametrize(
    "entity",
    [
        Entity("a", "很长的名字" * 1000, description="一句。又一句。"),
        Entity("a", "名", facts=(("谓词" * 2000, "一"), ("谓词" * 2000, "二"))),
    ],
)
def test_endless_name_leaves_room_for_what_the_views_say(entity: Entity) -> None:
    views = entity_views(entity, 3)
    assert len(set(views)) == 3
    assert all(len(view) <= 140 for view in views[1:])
