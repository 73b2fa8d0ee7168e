from hypothesis import given, settings
from hypothesis import strategies as st

from modelscope_plugin.data.kb_mentions import mentions_of_entity
from modelscope_plugin.data.records import Entity

DAPENG = Entity(
    "dapeng",
    "董成鹏",
    ("大鹏", "Da Peng"),
    ("Person",),
    "中国内地演员、导演，吉林集安人。主持过《大鹏嘚吧嘚》；执导电影《煎饼侠》",
    (("代表作品", "缝纫机乐队"),),
)
TEXT = st.text(alphabet="董鹏a，。 \n", max_size=10)
ENTITIES = st.builds(
    Entity,
    st.text(min_size=1, max_size=3),
    TEXT,
    st.lists(TEXT, max_size=3).map(tuple),
    st.just(()),
    TEXT,
    st.lists(st.tuples(TEXT, TEXT), max_size=2).map(tuple),
)


def test_mentions_of_entity_writes_as_many_for_each_name_as_asked() -> None:
    surfaces = [mention.surface for mention in mentions_of_entity(DAPENG, 3, seed=0)]
    assert surfaces == ["董成鹏"] * 3 + ["大鹏"] * 3 + ["Da Peng"] * 3


def test_mentions_of_entity_have_the_entity_as_gold() -> None:
    assert {mention.entity_ids for mention in mentions_of_entity(DAPENG, 2, seed=0)} == {("dapeng",)}


def test_mentions_of_entity_are_the_same_for_the_same_seed() -> None:
    assert list(mentions_of_entity(DAPENG, 5, seed=3)) == list(mentions_of_entity(DAPENG, 5, seed=3))


def test_mentions_of_entity_differ_between_seeds() -> None:
    assert list(mentions_of_entity(DAPENG, 5, seed=3)) != list(mentions_of_entity(DAPENG, 5, seed=4))


def test_mentions_of_entity_put_clauses_of_description_or_facts_beside_the_name() -> None:
    clauses = ("中国内地演员", "导演", "吉林集安人", "主持过《大鹏嘚吧嘚》", "执导电影《煎饼侠》", "缝纫机乐队")
    mentions = [m for m in mentions_of_entity(DAPENG, 10, seed=0) if m.text != m.surface]
    assert all(any(clause in mention.text for clause in clauses) for mention in mentions)


def test_mentions_of_entity_have_each_name_once_alone() -> None:
    alone = [mention.text for mention in mentions_of_entity(DAPENG, 10, seed=0) if mention.text == mention.surface]
    assert alone == ["董成鹏", "大鹏", "Da Peng"]


def test_mentions_of_entity_without_text_stand_alone() -> None:
    assert [mention.text for mention in mentions_of_entity(Entity("1", "大鹏"), 2, seed=0)] == ["大鹏", "大鹏"]


def test_mentions_of_entity_use_a_name_and_an_equal_alias_once() -> None:
    entity = Entity("1", "大鹏", (" 大鹏 ", "鹏鹏", ""))
    assert [mention.surface for mention in mentions_of_entity(entity, 1, seed=0)] == ["大鹏", "鹏鹏"]


def test_mentions_of_entity_asked_for_none_gives_none() -> None:
    assert list(mentions_of_entity(DAPENG, 0, seed=0)) == []


def test_mentions_of_entity_stay_short_for_a_description_without_breaks() -> None:
    mentions = mentions_of_entity(Entity("1", "大鹏", description="长" * 100_000), 3, seed=0)
    assert max(len(mention.text) for mention in mentions) < 100


@settings(deadline=None, max_examples=100)
@given(ENTITIES, st.integers(0, 3), st.integers())
def test_mentions_of_entity_name_one_of_its_names(entity: Entity, per_name: int, seed: int) -> None:
    names = {entity.name.strip(), *(alias.strip() for alias in entity.aliases)} - {""}
    surfaces = [mention.surface for mention in mentions_of_entity(entity, per_name, seed)]
    assert sorted(surfaces) == sorted(name for name in names for _ in range(per_name))
