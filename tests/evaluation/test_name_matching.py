from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelscope_plugin.data.records import Entity
from modelscope_plugin.evaluation.name_matching import NameMatcher

NAME = st.text(alphabet="大鹏aAb ", max_size=5)
ENTITIES = st.lists(
    st.builds(Entity, st.text(alphabet="123", min_size=1, max_size=2), NAME, st.lists(NAME, max_size=2).map(tuple)),
    max_size=8,
    unique_by=lambda entity: entity.id,
)
KNOWLEDGE_BASE = [
    Entity("roc", "大鹏", ("鲲鹏",)),
    Entity("dapeng", "董成鹏", ("大鹏", "Da Peng")),
    Entity("huangshan", "黄山"),
    Entity("apple", "苹果"),
]


def grams(name: str) -> list[str]:
    name = name.lower()
    return [*name, *(name[place : place + 2] for place in range(len(name) - 1))]


def likeness(one: str, other: str) -> float:
    first, second = Counter(grams(one)), Counter(grams(other))
    total = first.total() + second.total()
    return 2 * sum(min(count, second[gram]) for gram, count in first.items()) / total if total else 0.0


def ranked(entities: list[Entity], mention: str) -> list[str]:
    best = {entity.id: max(likeness(mention, name) for name in (entity.name, *entity.aliases)) for entity in entities}
    return sorted(best, key=lambda key: (-best[key], key))


@settings(deadline=None, max_examples=200)
@given(ENTITIES, NAME, st.integers(1, 10))
def test_search_equals_a_naive_ranking(entities: list[Entity], mention: str, top_k: int) -> None:
    assert NameMatcher(entities).search(mention, top_k) == ranked(entities, mention)[:top_k]


def test_search_puts_equal_names_first_and_orders_them_by_id() -> None:
    assert NameMatcher(KNOWLEDGE_BASE).search("大鹏", 2) == ["dapeng", "roc"]


@pytest.mark.parametrize("mention", ["da peng", "DA PENG"])
def test_search_does_not_tell_capitals_apart(mention: str) -> None:
    assert NameMatcher(KNOWLEDGE_BASE).search(mention, 1) == ["dapeng"]


def test_search_finds_a_name_with_one_character_wrong() -> None:
    assert NameMatcher(KNOWLEDGE_BASE).search("黄山山", 1) == ["huangshan"]


def test_search_fills_up_with_the_other_entities_by_id() -> None:
    assert NameMatcher(KNOWLEDGE_BASE).search("黄山", 4) == ["huangshan", "apple", "dapeng", "roc"]


def test_search_gives_all_when_asked_for_more() -> None:
    assert len(NameMatcher(KNOWLEDGE_BASE).search("大鹏", 100)) == 4


def test_search_does_not_depend_on_the_order_of_the_entities() -> None:
    backwards = NameMatcher(KNOWLEDGE_BASE[::-1])
    assert backwards.search("鹏", 4) == NameMatcher(KNOWLEDGE_BASE).search("鹏", 4)


def test_search_in_an_empty_knowledge_base_finds_nothing() -> None:
    assert NameMatcher([]).search("大鹏", 5) == []


def test_matcher_takes_a_stream_of_entities() -> None:
    assert NameMatcher(iter(KNOWLEDGE_BASE)).search("苹果", 1) == ["apple"]
