import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelscope_plugin.data.parsing import parse_document, parse_entity
from modelscope_plugin.data.records import Document, Entity, Mention
from modelscope_plugin.data.report import ReadReport
from modelscope_plugin.errors import InputError

SENTENCE = "昨晚大鹏在合肥开唱"

FIELD = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
FILLED = FIELD.filter(str.strip)
STRIPPED = FILLED.map(str.strip)
ENTITIES = st.builds(
    Entity,
    FILLED.map(str.strip),
    FILLED,
    st.lists(STRIPPED, max_size=3).map(tuple),
    st.lists(STRIPPED, max_size=3).map(tuple),
    FIELD,
    st.lists(st.tuples(FIELD, FIELD), max_size=3).map(tuple),
)


def mention_of(record: dict[str, Any]) -> Mention:
    (mention,) = parse_document(record).mentions
    return mention


@settings(deadline=None, max_examples=150)
@given(ENTITIES)
def test_parse_entity_reads_what_to_record_writes(entity: Entity) -> None:
    assert parse_entity(json.loads(json.dumps(entity.to_record()))) == entity


def test_parse_entity_reads_ccks_2019_lists() -> None:
    record = {
        "subject_id": "10001",
        "subject": "董成鹏",
        "alias": ["大鹏", "Da Peng"],
        "type": ["Person", "Thing"],
        "data": [{"predicate": "国籍", "object": "中国"}, {"predicate": "摘要", "object": "演员"}],
    }
    facts = (("国籍", "中国"), ("摘要", "演员"))
    assert parse_entity(record) == Entity("10001", "董成鹏", ("大鹏", "Da Peng"), ("Person", "Thing"), "", facts)


def test_parse_entity_reads_ccks_2020_types_with_bars() -> None:
    record = {"subject_id": "9", "subject": "煎饼侠", "alias": [], "type": "Work|Other", "data": []}
    assert parse_entity(record).types == ("Work", "Other")


def test_parse_entity_reads_its_own_form() -> None:
    record = {
        "id": "huangshan",
        "name": "黄山",
        "aliases": ["Mount Huang"],
        "types": ["Location"],
        "description": "安徽的名山",
        "facts": [["海拔", "1864米"], {"predicate": "省", "object": "安徽"}],
    }
    facts = (("海拔", "1864米"), ("省", "安徽"))
    assert parse_entity(record) == Entity("huangshan", "黄山", ("Mount Huang",), ("Location",), "安徽的名山", facts)


def test_parse_entity_splits_joined_lists_and_drops_blanks() -> None:
    assert parse_entity({"id": "1", "name": "大鹏", "aliases": "鹏鹏| 董成鹏 ||"}).aliases == ("鹏鹏", "董成鹏")


def test_parse_entity_takes_an_integer_id() -> None:
    assert parse_entity({"id": 0, "name": "大鹏"}).id == "0"


def test_parse_entity_takes_null_for_an_absent_field() -> None:
    record = {"id": "1", "name": "大鹏", "aliases": None, "types": None, "description": None, "facts": None}
    assert parse_entity(record) == Entity("1", "大鹏")


def test_parse_entity_names_unknown_fields() -> None:
    report = ReadReport()
    record = {
        "id": "1",
        "name": "大鹏",
        "popularity": 3,
        "facts": [{"predicate": "国籍", "object": "中", "source": "x"}],
    }
    assert parse_entity(record, report=report) == Entity("1", "大鹏", facts=(("国籍", "中"),))
    assert [*report.unknown_fields] == ["popularity", "facts.source"]


@pytest.mark.parametrize(
    ("id", "name", "aliases", "types", "description"),
    [
        ("id", "name", "alias", "type", "desc"),
        ("编号", "名称", "别名", "类型", "描述"),
        ("标识", "名字", "别称", "类别", "简介"),
        ("ＩＤ", " Name ", "Other Names", "CATEGORY", "Summary"),
        ("实体ID", "实体名称", "同义词", "分类", "介绍"),
    ],
)
def test_parse_entity_reads_other_names_of_fields(
    id: str, name: str, aliases: str, types: str, description: str
) -> None:
    record = {id: "1", name: "董成鹏", aliases: ["大鹏"], types: ["Person"], description: "演员"}
    assert parse_entity(record) == Entity("1", "董成鹏", ("大鹏",), ("Person",), "演员")


def test_parse_entity_merges_lists_under_two_names() -> None:
    record = {"subject_id": "1", "subject": "甲", "alias": ["乙"], "aliases": ["丙", "乙"], "data": [["a", "b"]]}
    assert parse_entity(record) == Entity("1", "甲", ("丙", "乙"), facts=(("a", "b"),))


def test_parse_entity_names_the_second_of_two_names_of_one_field() -> None:
    report = ReadReport()
    record = {"id": 7, "subject_id": "1", "subject": "甲", "name": "乙", "title": "甲"}
    assert parse_entity(record, report=report) == Entity("1", "甲")
    assert [*report.unknown_fields] == ["id", "name"]


def test_parse_entity_writes_numbers_and_booleans_as_texts() -> None:
    record = {"id": 10001.0, "name": 360, "aliases": [3.0, 0.5, True, None, float("nan"), "3.0"], "types": 2}
    facts = {"facts": [["年份", 2001], ["在世", False], ["卒于", None], {"predicate": 1, "object": 1e-7}]}
    read = (("年份", "2001"), ("在世", "false"), ("1", "1e-07"))
    assert parse_entity(record | facts) == Entity("10001", "360", ("3", "0.5", "true", "3.0"), ("2",), facts=read)


def test_parse_entity_reads_facts_by_predicate() -> None:
    record = {"id": "1", "name": "甲", "facts": {"国籍": "中国", "作品": ["乙", "丙"]}}
    assert parse_entity(record).facts == (("国籍", "中国"), ("作品", "乙"), ("作品", "丙"))


def test_parse_entity_says_that_it_was_given_a_text() -> None:
    with pytest.raises(InputError, match="this is a text, and the file one of mentions"):
        parse_entity({"text": SENTENCE, "mention_data": []})


def test_parse_entity_lists_the_fields_that_it_found() -> None:
    with pytest.raises(InputError, match="this record has 'foo', 'bar'"):
        parse_entity({"foo": 1, "bar": 2})


def test_parse_entity_refuses_an_id_of_thousands_of_digits() -> None:
    with pytest.raises(InputError):
        parse_entity({"id": 10**5000, "name": "甲"})


@pytest.mark.parametrize("id", [None, "", "  ", True, 1.5, ["1"]])
def test_parse_entity_refuses_an_unusable_id(id: Any) -> None:
    with pytest.raises(InputError, match="every entity needs an id"):
        parse_entity({"id": id, "name": "大鹏"})


def test_parse_entity_names_both_id_fields_when_there_is_none() -> None:
    with pytest.raises(InputError, match=r"'subject_id' \(CCKS\) or 'id'"):
        parse_entity({"name": "大鹏"})


@pytest.mark.parametrize("record", [{"id": "1"}, {"id": "1", "name": " "}, {"id": "1", "name": ["大鹏"]}])
def test_parse_entity_refuses_a_missing_name(record: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="'name' is missing or no text"):
        parse_entity(record)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("aliases", [["大鹏"]]),
        ("aliases", [float("inf")]),
        ("types", {"Person": 1}),
        ("description", ["演员"]),
        ("facts", "国籍"),
        ("facts", [["国籍"]]),
        ("facts", ["国籍"]),
        ("facts", [["年份", [2001]]]),
        ("facts", [{"predicate": "国籍"}]),
    ],
)
def test_parse_entity_names_the_field_of_a_wrong_type(field: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"'{field}'"):
        parse_entity({"id": "1", "name": "大鹏", field: value})


def test_parse_document_reads_ccks_mentions_with_offsets_as_text() -> None:
    record = {
        "text_id": "7",
        "text": SENTENCE,
        "mention_data": [
            {"kb_id": "10001", "mention": "大鹏", "offset": "2"},
            {"kb_id": "NIL_Location", "mention": "合肥", "offset": "5"},
        ],
    }
    mentions = (
        Mention(SENTENCE, 2, 4, ("10001",), None, "7"),
        Mention(SENTENCE, 5, 7, (), "NIL_Location", "7"),
    )
    assert parse_document(record) == Document(SENTENCE, mentions, "7")


@pytest.mark.parametrize("label", ["NIL", "NIL_Person"])
def test_parse_document_keeps_the_nil_label(label: str) -> None:
    mention = mention_of({"text": SENTENCE, "mention_data": [{"kb_id": label, "mention": "大鹏", "offset": 2}]})
    assert (mention.nil, mention.entity_ids) == (label, ())


def test_parse_document_takes_an_id_that_only_begins_like_nil() -> None:
    assert mention_of({"text": SENTENCE, "start": 2, "end": 4, "entity_id": "NILE"}).entity_ids == ("NILE",)


def test_parse_document_reads_its_own_mentions() -> None:
    record = {"text": SENTENCE, "mentions": [{"start": 2, "end": 4, "entity_ids": ["a", "b"]}, {"start": 5, "end": 7}]}
    assert parse_document(record).mentions == (Mention(SENTENCE, 2, 4, ("a", "b")), Mention(SENTENCE, 5, 7))


def test_parse_document_reads_one_mention_beside_the_text() -> None:
    record = {"text": SENTENCE, "start": 2, "end": 4, "entity_id": "dapeng"}
    assert mention_of(record) == Mention(SENTENCE, 2, 4, ("dapeng",))


def test_parse_document_takes_offset_zero_beside_the_text() -> None:
    assert mention_of({"text": "大鹏开唱", "offset": 0, "mention": "大鹏"}).surface == "大鹏"


def test_parse_document_reads_a_marked_text() -> None:
    record = {"text": "昨晚 [ENT_S] 大鹏 [ENT_E] 在合肥开唱", "entity_id": "dapeng", "text_id": 4}
    assert mention_of(record) == Mention(SENTENCE, 2, 4, ("dapeng",), None, "4")


def test_parse_document_without_mention_has_none() -> None:
    assert parse_document({"text": SENTENCE}) == Document(SENTENCE, ())


def test_parse_document_takes_an_empty_list_of_mentions() -> None:
    assert parse_document({"text": SENTENCE, "mention_data": []}).mentions == ()


def test_parse_document_takes_a_null_text_id_for_none() -> None:
    assert parse_document({"text": SENTENCE, "text_id": None}).text_id == ""


def test_parse_document_merges_golds_of_one_offset_in_order() -> None:
    spans = [{"kb_id": kb_id, "mention": "大鹏", "offset": "2"} for kb_id in ("b", "a", "b")]
    assert mention_of({"text": SENTENCE, "mention_data": spans}).entity_ids == ("b", "a")


@pytest.mark.parametrize("offset", ["2.0", 2.0, " 2 "])
def test_parse_document_takes_a_whole_number_as_offset(offset: Any) -> None:
    assert mention_of({"text": SENTENCE, "mention": "大鹏", "offset": offset}).start == 2


@pytest.mark.parametrize("record", [{"mention": "大鹏"}, {"mention_data": [{"mention": "大鹏", "offset": None}]}])
def test_parse_document_finds_a_mention_without_a_position(record: dict[str, Any]) -> None:
    assert mention_of({"text": SENTENCE} | record) == Mention(SENTENCE, 2, 4)


@pytest.mark.parametrize(
    ("text", "message"), [("大大大", "stands more than once"), ("大人", "is not in the text"), ("大大人大大", "once")]
)
def test_parse_document_refuses_a_mention_that_it_cannot_find(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_document({"text": text, "mention": "大大"})


def test_parse_document_refuses_an_entity_without_a_mention() -> None:
    with pytest.raises(InputError, match="'entity_id' without a mention"):
        parse_document({"text": SENTENCE, "entity_id": "a"})


def test_parse_document_reads_other_names_of_fields() -> None:
    record = {"文本": SENTENCE, "提及": "大鹏", "起始位置": "2", "结束位置": "4", "实体编号": "a"}
    assert mention_of(record) == Mention(SENTENCE, 2, 4, ("a",))


def test_parse_document_names_unknown_fields() -> None:
    report = ReadReport()
    spans = [{"start": 2, "end": 4, "label": "PER"}]
    record = {"text": SENTENCE, "mention_data": spans, "mentions": spans, "start": 5, "entities": []}
    assert len(parse_document(record, report=report).mentions) == 1
    assert [*report.unknown_fields] == ["entities", "mentions", "start", "label"]


def test_parse_document_checks_a_mention_beside_markers() -> None:
    marked = {"text": "昨晚 [ENT_S] 大鹏 [ENT_E] 开唱", "entity_id": "a"}
    assert mention_of(marked | {"mention": "大鹏"}).entity_ids == ("a",)
    with pytest.raises(InputError, match="the markers are around '大鹏'"):
        parse_document(marked | {"mention": "昨晚"})


def test_parse_document_says_that_it_was_given_an_entity() -> None:
    with pytest.raises(InputError, match="'text' is missing or no text; this is an entity"):
        parse_document({"subject_id": "1", "subject": "甲", "alias": []})


def test_parse_document_prefers_a_gold_entity_to_nil_at_one_offset() -> None:
    spans = [{"kb_id": kb_id, "mention": "大鹏", "offset": "2"} for kb_id in ("NIL_Person", "a")]
    mention = mention_of({"text": SENTENCE, "mention_data": spans})
    assert (mention.entity_ids, mention.nil) == (("a",), None)


def test_parse_document_keeps_mentions_that_start_together_apart() -> None:
    spans = [{"kb_id": "a", "mention": "大鹏", "offset": 2}, {"kb_id": "b", "mention": "大鹏在", "offset": 2}]
    assert [m.surface for m in parse_document({"text": SENTENCE, "mention_data": spans}).mentions] == ["大鹏", "大鹏在"]


def test_parse_document_splits_joined_golds() -> None:
    assert mention_of({"text": SENTENCE, "start": 2, "end": 4, "entity_id": "a|b"}).entity_ids == ("a", "b")


@pytest.mark.parametrize("golds", ["a|", "|a", "a||"])
def test_parse_document_drops_blank_golds(golds: str) -> None:
    assert mention_of({"text": SENTENCE, "start": 2, "end": 4, "entity_id": golds}).entity_ids == ("a",)


@pytest.mark.parametrize("golds", [[None], [{"id": "a"}], [["a"]]])
def test_parse_document_refuses_golds_that_are_no_ids(golds: list[Any]) -> None:
    with pytest.raises(InputError, match="entity_ids"):
        parse_document({"text": SENTENCE, "start": 2, "end": 4, "entity_ids": golds})


def test_parse_document_takes_golds_that_are_numbers() -> None:
    assert mention_of({"text": SENTENCE, "start": 2, "end": 4, "entity_ids": [1, 2]}).entity_ids == ("1", "2")


def test_parse_document_refuses_a_mention_that_does_not_stand_at_its_offset() -> None:
    record = {"text": SENTENCE, "mention_data": [{"kb_id": "1", "mention": "大鹏", "offset": "3"}]}
    with pytest.raises(InputError, match=r"'大鹏' is not at offset 3 .*'鹏在' is"):
        parse_document(record)


@pytest.mark.parametrize("offset", ["-1", -1, "8", 100])
def test_parse_document_refuses_an_offset_outside_the_text(offset: Any) -> None:
    record = {"text": SENTENCE, "mention_data": [{"kb_id": "1", "mention": "大鹏", "offset": offset}]}
    with pytest.raises(InputError, match="outside the text of 9 characters"):
        parse_document(record)


@pytest.mark.parametrize("offset", ["二", "1.5", True, 1.5, [], "9" * 5000, float("inf"), "1.0.0"])
def test_parse_document_refuses_an_offset_that_is_no_integer(offset: Any) -> None:
    record = {"text": SENTENCE, "mention_data": [{"kb_id": "1", "mention": "大鹏", "offset": offset}]}
    with pytest.raises(InputError, match="must be an integer character offset"):
        parse_document(record)


@pytest.mark.parametrize("span", [{"start": 2, "end": 2}, {"start": 4, "end": 2}, {"start": 2}, {"mention": ""}])
def test_parse_document_refuses_an_empty_mention(span: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        parse_document({"text": SENTENCE, "mentions": [span]})


@pytest.mark.parametrize("mention", [5, ["大鹏"], {"text": "大鹏"}])
def test_parse_document_refuses_a_mention_that_is_no_text(mention: Any) -> None:
    with pytest.raises(InputError, match="'mention' must be text"):
        parse_document({"text": SENTENCE, "mention_data": [{"kb_id": "1", "mention": mention, "offset": 2}]})


@pytest.mark.parametrize("mentions", ["大鹏", 5, {"start": 2}, ["大鹏"], [None]])
def test_parse_document_refuses_mentions_that_are_no_objects(mentions: Any) -> None:
    with pytest.raises(InputError, match="'mentions' must be a list"):
        parse_document({"text": SENTENCE, "mentions": mentions})


@pytest.mark.parametrize("record", [{}, {"text": None}, {"text": 5}])
def test_parse_document_refuses_a_missing_text(record: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="'text' is missing or no text"):
        parse_document(record)


def test_parse_document_refuses_offsets_and_markers_together() -> None:
    record = {"text": "唱 [ENT_S] 大鹏 [ENT_E] 歌", "start": 10, "end": 12}
    with pytest.raises(InputError, match="both offsets and markers"):
        parse_document(record)


def test_parse_entity_drops_white_space_around_the_id() -> None:
    assert parse_entity({"id": " Q1 ", "name": "大鹏"}).id == "Q1"


def test_parse_document_reads_hard_negatives_in_every_form() -> None:
    span = {"text": "大鹏", "start": 0, "end": 2, "entity_ids": ["a"]}
    forms = (["b", "c"], "b|c", [{"id": "b", "name": "乙", "score": 0.5, "rank": 1}, {"id": "c"}], ["b", "c", "b"])
    for negatives in forms:
        assert parse_document(span | {"negatives": negatives}).mentions[0].negatives == ("b", "c")
    marked = {"text": "[ENT_S] 大鹏 [ENT_E]", "entity_id": "a", "negatives": ["b"]}
    assert parse_document(marked).mentions[0].negatives == ("b",)


def test_parse_document_drops_a_negative_that_is_gold_at_the_same_offset() -> None:
    spans = [
        {"kb_id": "a", "mention": "大鹏", "offset": "0", "negatives": ["b", "c"]},
        {"kb_id": "b", "mention": "大鹏", "offset": "0"},
    ]
    mention = parse_document({"text": "大鹏", "mention_data": spans}).mentions[0]
    assert (mention.entity_ids, mention.negatives) == (("a", "b"), ("c",))


@pytest.mark.parametrize("negatives", [[1.5], [{"name": "乙"}], {"id": "b"}])
def test_parse_document_refuses_negatives_that_are_no_ids(negatives: Any) -> None:
    with pytest.raises(InputError, match="'negatives' must be an entity id or a list of them"):
        parse_document({"text": "大鹏", "start": 0, "end": 2, "entity_ids": ["a"], "negatives": negatives})


@pytest.mark.parametrize(
    ("spans", "bare"),
    [
        ({"mentions": []}, True),
        ({"mention_data": []}, True),
        ({}, False),
        ({"mentions": None}, False),
        ({"mentions": ""}, False),
        ({"mentions": [{"start": 0, "end": 2}]}, False),
    ],
)
def test_empty_list_says_that_there_is_no_mention(spans: dict[str, object], bare: bool) -> None:
    assert parse_document({"text": "大鹏很好笑"} | spans).has_no_mentions is bare
