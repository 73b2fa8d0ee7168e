from hypothesis import given, settings
from hypothesis import strategies as st

from modelscope_plugin.data.entity_text import MAX_CHARACTERS, entity_text
from modelscope_plugin.data.records import Entity

TEXT = st.text(alphabet="董鹏a；; \n", max_size=12)
ENTITIES = st.builds(
    Entity,
    st.just("1"),
    TEXT,
    st.lists(TEXT, max_size=4).map(tuple),
    st.lists(TEXT, max_size=4).map(tuple),
    TEXT,
    st.lists(st.tuples(TEXT, TEXT), max_size=4).map(tuple),
)


def test_entity_text_has_the_form_of_the_model_card() -> None:
    entity = Entity("1", "董成鹏", ("Da Peng", "大鹏"), ("Person",), "中国内地演员，导演")
    assert entity_text(entity) == "董成鹏； 类型： Person； 别名： Da Peng， 大鹏; 中国内地演员，导演"


def test_entity_text_of_a_bare_name_is_the_name() -> None:
    assert entity_text(Entity("1", "董成鹏")) == "董成鹏;"


def test_entity_text_joins_several_types() -> None:
    assert entity_text(Entity("1", "苹果", types=("Food", "Biological"))) == "苹果； 类型： Food， Biological;"


def test_entity_text_puts_facts_behind_the_description() -> None:
    entity = Entity("1", "黄山", description="安徽的名山", facts=(("海拔", "1864米"), ("所在地", "安徽")))
    assert entity_text(entity) == "黄山; 安徽的名山； 海拔： 1864米； 所在地： 安徽"


def test_entity_text_puts_facts_behind_the_name_without_description() -> None:
    assert entity_text(Entity("1", "黄山", facts=(("海拔", "1864米"),))) == "黄山; 海拔： 1864米"


def test_entity_text_drops_an_alias_equal_to_the_name() -> None:
    assert entity_text(Entity("1", "大鹏", (" 大鹏", "鹏鹏"))) == "大鹏； 别名： 鹏鹏;"


def test_entity_text_writes_no_alias_part_when_only_the_name_is_left() -> None:
    assert entity_text(Entity("1", "大鹏", ("大鹏", " "))) == "大鹏;"


def test_entity_text_writes_a_repeated_alias_once() -> None:
    assert entity_text(Entity("1", "董成鹏", ("大鹏", "鹏鹏", " 大鹏 "))) == "董成鹏； 别名： 大鹏， 鹏鹏;"


def test_entity_text_of_a_million_aliases_is_bounded() -> None:
    text = entity_text(Entity("1", "大鹏", tuple(map(str, range(1_000_000)))))
    assert (len(text), text.startswith("大鹏； 别名： 0， 1， 2， 3， ")) == (MAX_CHARACTERS, True)


def test_entity_text_reads_no_more_aliases_than_can_be_seen() -> None:
    read: list[int] = []
    aliases = (str(read.append(number) or number) for number in range(1_000_000))
    entity_text(Entity("1", "大鹏", aliases))  # type: ignore[arg-type]
    assert len(read) <= MAX_CHARACTERS


def test_entity_text_of_a_million_facts_is_bounded() -> None:
    facts = (("年份", "2001"),) * 1_000_000
    assert len(entity_text(Entity("1", "大鹏", facts=facts))) <= MAX_CHARACTERS


def test_entity_text_of_a_megabyte_description_keeps_its_beginning() -> None:
    text = entity_text(Entity("1", "大鹏", description="演" + "员" * 1_000_000))
    assert text == "大鹏; 演" + "员" * (MAX_CHARACTERS - 5)


def test_entity_text_of_a_megabyte_name_is_bounded() -> None:
    assert entity_text(Entity("1", "鹏" * 1_000_000), max_characters=10) == "鹏" * 10


def test_entity_text_leaves_out_facts_before_description() -> None:
    entity = Entity("1", "黄山", description="安徽的名山", facts=(("海拔", "1864米"),))
    assert entity_text(entity, max_characters=9) == "黄山; 安徽的名山"


@settings(deadline=None, max_examples=150)
@given(ENTITIES, st.integers(0, 60))
def test_entity_text_is_never_longer_than_asked(entity: Entity, max_characters: int) -> None:
    assert len(entity_text(entity, max_characters)) <= max_characters


@settings(deadline=None, max_examples=150)
@given(ENTITIES)
def test_entity_text_begins_with_the_name(entity: Entity) -> None:
    assert entity_text(entity).startswith(entity.name.strip())
