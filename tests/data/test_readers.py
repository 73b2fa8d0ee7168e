import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelscope_plugin.data.readers import read_documents, read_entities, read_mentions
from modelscope_plugin.data.records import Document, Entity, Mention
from modelscope_plugin.data.report import ReadReport
from modelscope_plugin.errors import DataFileError, MissingFileError

SENTENCE = "昨晚大鹏在合肥开唱"
DAPENG = Entity("1", "董成鹏", ("大鹏", "Da Peng"), ("Person",), "演员")
HUANGSHAN = Entity("2", "黄山", types=("Location", "Other"))

FIELD = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
FILLED = FIELD.filter(str.strip)
ENTITIES = st.lists(
    st.builds(
        Entity,
        FILLED.map(str.strip),
        FILLED,
        st.lists(FILLED.map(str.strip), max_size=3).map(tuple),
        st.lists(FILLED.map(str.strip), max_size=3).map(tuple),
        FIELD,
        st.lists(st.tuples(FIELD, FIELD), max_size=3).map(tuple),
    ),
    min_size=1,
    max_size=4,
    unique_by=lambda entity: entity.id,
)
# What a CSV cell can hold without a convention of its own.
CELL = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\x00|"), max_size=8)


def text_file(path: Path, *lines: str, encoding: str = "utf-8") -> Path:
    path.write_bytes("".join(line + "\n" for line in lines).encode(encoding))
    return path


def json_file(path: Path, *records: dict[str, Any]) -> Path:
    return text_file(path, *(json.dumps(record, ensure_ascii=False) for record in records))


def test_read_entities_reads_ccks_2019(tmp_path: Path) -> None:
    path = json_file(
        tmp_path / "kb_data",
        {
            "alias": ["大鹏", "Da Peng"],
            "subject_id": "1",
            "subject": "董成鹏",
            "type": ["Person"],
            "data": [{"predicate": "国籍", "object": "中国"}],
        },
    )
    facts = (("国籍", "中国"),)
    assert list(read_entities(path)) == [Entity("1", "董成鹏", ("大鹏", "Da Peng"), ("Person",), "", facts)]


def test_read_entities_reads_ccks_2020(tmp_path: Path) -> None:
    path = json_file(
        tmp_path / "kb.json",
        {"alias": [], "subject_id": "2", "subject": "黄山", "type": "Location|Other", "data": []},
    )
    assert list(read_entities(path)) == [HUANGSHAN]


def test_read_entities_reads_its_own_json_lines(tmp_path: Path) -> None:
    path = json_file(tmp_path / "kb.jsonl", DAPENG.to_record(), HUANGSHAN.to_record())
    assert list(read_entities(path)) == [DAPENG, HUANGSHAN]


@pytest.mark.parametrize(("name", "delimiter"), [("kb.csv", ","), ("kb.tsv", "\t"), ("KB.CSV", ",")])
def test_read_entities_reads_tables(tmp_path: Path, name: str, delimiter: str) -> None:
    rows = [["id", "name", "aliases", "types", "description"]]
    rows += [["1", "董成鹏", "大鹏|Da Peng", "Person", "演员"], ["2", "黄山", "", "Location|Other", ""]]
    path = text_file(tmp_path / name, *(delimiter.join(row) for row in rows))
    assert list(read_entities(path)) == [DAPENG, HUANGSHAN]


def test_read_entities_reads_a_quoted_line_break_in_a_table(tmp_path: Path) -> None:
    path = text_file(tmp_path / "kb.csv", "id,name,description", '1,黄山,"安徽的名山，', '又称""徽山"", 高1864米"')
    assert next(read_entities(path)).description == '安徽的名山，\n又称"徽山", 高1864米'


def test_read_entities_skips_blank_lines_of_a_table(tmp_path: Path) -> None:
    path = text_file(tmp_path / "kb.csv", "id,name", "", "1,黄山", "")
    assert [entity.name for entity in read_entities(path)] == ["黄山"]


@pytest.mark.parametrize("name", ["kb.jsonl.gz", "kb.csv.gz", "kb.tsv.gz"])
def test_read_entities_reads_compressed_files(tmp_path: Path, name: str) -> None:
    delimiter = "\t" if ".tsv" in name else ","
    text = '{"id": "1", "name": "黄山"}\n' if ".jsonl" in name else f"id{delimiter}name\n1{delimiter}黄山\n"
    (tmp_path / name).write_bytes(gzip.compress(text.encode()))
    assert list(read_entities(tmp_path / name)) == [Entity("1", "黄山")]


def test_read_entities_reads_a_table_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = text_file(tmp_path / "kb.csv", "id,name", "1,黄山", encoding="utf-8-sig")
    assert list(read_entities(path)) == [Entity("1", "黄山")]


def test_read_entities_reads_gb18030(tmp_path: Path) -> None:
    path = text_file(tmp_path / "kb.csv", "id,name", "1,黄山", encoding="gb18030")
    assert list(read_entities(path, encoding="gb18030")) == [Entity("1", "黄山")]


def test_read_entities_names_the_line_of_a_field_that_is_too_long(tmp_path: Path) -> None:
    limit = csv.field_size_limit()
    path = text_file(tmp_path / "kb.csv", "id,name", f"1,{'山' * limit}", f"2,{'山' * (limit + 1)}")
    entities = read_entities(path)
    assert len(next(entities).name) == limit
    with pytest.raises(DataFileError, match=rf"kb\.csv:3: broken row .*more than {limit:,} characters"):
        next(entities)
    assert csv.field_size_limit() == limit


@pytest.mark.parametrize("header", ["id,name,facts", "subject_id,subject,data"])
def test_read_entities_takes_an_empty_cell_of_facts_for_none(tmp_path: Path, header: str) -> None:
    path = text_file(tmp_path / "kb.csv", header, "1,黄山,")
    assert list(read_entities(path)) == [Entity("1", "黄山")]


@settings(deadline=None, max_examples=50)
@given(entities=ENTITIES)
def test_read_entities_reads_back_what_to_record_writes(
    tmp_path_factory: pytest.TempPathFactory, entities: list[Entity]
) -> None:
    path = tmp_path_factory.mktemp("kb") / "kb.jsonl"
    json_file(path, *(entity.to_record() for entity in entities))
    assert list(read_entities(path)) == entities


@settings(deadline=None, max_examples=50)
@given(name=CELL.filter(str.strip), description=CELL)
def test_read_entities_reads_back_what_the_csv_module_writes(
    tmp_path_factory: pytest.TempPathFactory, name: str, description: str
) -> None:
    path = tmp_path_factory.mktemp("kb") / "kb.csv"
    with open(path, "w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([["id", "name", "description"], ["1", name, description]])
    assert list(read_entities(path)) == [Entity("1", name, description=description)]


def test_read_entities_streams(tmp_path: Path) -> None:
    path = text_file(tmp_path / "kb.jsonl", '{"id": "1", "name": "黄山"}', "broken")
    assert next(read_entities(path)).id == "1"


def test_read_entities_skips_blank_lines(tmp_path: Path) -> None:
    path = text_file(tmp_path / "kb.jsonl", "", '{"id": "1", "name": "黄山"}', "  ")
    assert len(list(read_entities(path))) == 1


@pytest.mark.parametrize("line", ['{"id": "2"', "黄山", "{'id': '2'}", '{"id": ' + "9" * 5000 + "}"])
def test_read_entities_names_file_and_line_of_broken_json(tmp_path: Path, line: str) -> None:
    path = text_file(tmp_path / "kb.jsonl", '{"id": "1", "name": "黄山"}', "", line)
    with pytest.raises(DataFileError, match=r"kb\.jsonl:3: broken JSON"):
        list(read_entities(path))


def test_read_entities_names_file_and_line_of_json_nested_too_deeply(tmp_path: Path) -> None:
    path = text_file(tmp_path / "kb.jsonl", '{"id": ' + "[" * 100_000 + "]" * 100_000 + "}")
    with pytest.raises(DataFileError, match=r"kb\.jsonl:1: JSON nested too deeply"):
        list(read_entities(path))


@pytest.mark.parametrize("line", ["[1, 2]", "5", "null", '"黄山"'])
def test_read_entities_names_file_and_line_of_json_that_is_no_object(tmp_path: Path, line: str) -> None:
    with pytest.raises(DataFileError, match=r"kb\.jsonl:1: .* instead of a JSON object"):
        list(read_entities(text_file(tmp_path / "kb.jsonl", line)))


def test_read_entities_names_both_lines_of_a_duplicate_id(tmp_path: Path) -> None:
    path = json_file(tmp_path / "kb.jsonl", *({"id": key, "name": "黄山"} for key in ("1", "2", "3", "2")))
    with pytest.raises(DataFileError, match=r"kb\.jsonl:4: id '2' is already in line 2"):
        list(read_entities(path))


def test_read_entities_finds_an_id_written_as_text_and_as_number(tmp_path: Path) -> None:
    path = json_file(tmp_path / "kb.jsonl", {"id": "1", "name": "黄山"}, {"id": 1, "name": "泰山"})
    with pytest.raises(DataFileError, match="is already in line 1"):
        list(read_entities(path))


@pytest.mark.parametrize("record", [{"name": "黄山"}, {"id": "", "name": "黄山"}, {"id": None, "name": "黄山"}])
def test_read_entities_names_file_and_line_of_a_missing_id(tmp_path: Path, record: dict[str, Any]) -> None:
    with pytest.raises(DataFileError, match=r"kb\.jsonl:2: .*id"):
        list(read_entities(json_file(tmp_path / "kb.jsonl", DAPENG.to_record(), record)))


def test_read_entities_names_file_and_line_of_half_a_surrogate_pair(tmp_path: Path) -> None:
    path = text_file(tmp_path / "kb.jsonl", '{"id": "1", "name": "黄山"}', '{"id": "2", "name": "笑脸\\ud83d"}')
    with pytest.raises(DataFileError, match=r"kb\.jsonl:2: "):
        list(read_entities(path))


@pytest.mark.parametrize("name", ["kb.jsonl", "kb.csv"])
def test_read_entities_refuses_an_empty_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataFileError, match="no entity in it"):
        list(read_entities(text_file(tmp_path / name)))


def test_read_entities_refuses_a_table_of_only_a_header(tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match="no entity in it"):
        list(read_entities(text_file(tmp_path / "kb.csv", "id,name")))


def test_read_entities_refuses_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError):
        list(read_entities(tmp_path / "none.csv"))


@pytest.mark.parametrize(("row", "fields"), [("2,泰山,山,多", 4), ("2", 1)])
def test_read_entities_names_the_line_of_a_row_of_another_width(tmp_path: Path, row: str, fields: int) -> None:
    path = text_file(tmp_path / "kb.csv", "id,name,description", '1,黄山,"名', '山"', row)
    with pytest.raises(DataFileError, match=rf"kb\.csv:4: {fields} fields, the header has 3"):
        list(read_entities(path))


@pytest.mark.parametrize("row", ['2,"泰山', '2,"泰"山'])
def test_read_entities_names_the_line_where_a_broken_row_begins(tmp_path: Path, row: str) -> None:
    path = text_file(tmp_path / "kb.csv", "id,name", "1,黄山", row, "3,华山")
    with pytest.raises(DataFileError, match=r"kb\.csv:3: broken row"):
        list(read_entities(path))


def test_read_documents_reads_ccks_with_offsets_as_text(tmp_path: Path) -> None:
    path = json_file(
        tmp_path / "train.json",
        {"text_id": "9", "text": SENTENCE, "mention_data": [{"kb_id": "1", "mention": "大鹏", "offset": "2"}]},
    )
    assert list(read_documents(path)) == [Document(SENTENCE, (Mention(SENTENCE, 2, 4, ("1",), None, "9"),), "9")]


def test_read_documents_keeps_texts_without_mention(tmp_path: Path) -> None:
    assert list(read_documents(json_file(tmp_path / "a.jsonl", {"text": SENTENCE}))) == [Document(SENTENCE, ())]


def test_read_mentions_keeps_the_nil_type_of_ccks_2020(tmp_path: Path) -> None:
    path = json_file(
        tmp_path / "train.json",
        {"text": SENTENCE, "mention_data": [{"kb_id": "NIL_Person", "mention": "大鹏", "offset": "2"}]},
    )
    assert list(read_mentions(path)) == [Mention(SENTENCE, 2, 4, (), "NIL_Person")]


def test_read_mentions_merges_several_golds_at_one_offset(tmp_path: Path) -> None:
    spans = [{"kb_id": kb_id, "mention": "大鹏", "offset": "2"} for kb_id in ("1", "2")]
    path = json_file(tmp_path / "train.json", {"text": SENTENCE, "mention_data": spans})
    assert list(read_mentions(path)) == [Mention(SENTENCE, 2, 4, ("1", "2"))]


def test_read_mentions_reads_plain_marked_texts(tmp_path: Path) -> None:
    path = text_file(tmp_path / "a.txt", "昨晚 [ENT_S] 大鹏 [ENT_E] 在合肥开唱", "", "[ENT_S] 黄山 [ENT_E] 下雪")
    assert [mention.surface for mention in read_mentions(path)] == ["大鹏", "黄山"]


def test_read_mentions_reads_a_table_of_offsets(tmp_path: Path) -> None:
    path = text_file(tmp_path / "a.tsv", "text\tstart\tend\tentity_ids", f"{SENTENCE}\t2\t4\t1|2")
    assert list(read_mentions(path)) == [Mention(SENTENCE, 2, 4, ("1", "2"))]


def test_read_mentions_reads_a_table_of_marked_texts(tmp_path: Path) -> None:
    path = text_file(tmp_path / "a.csv", "text,entity_id", "昨晚[ENT_S]大鹏[ENT_E]在合肥开唱,1")
    assert list(read_mentions(path)) == [Mention(SENTENCE, 2, 4, ("1",))]


def test_read_mentions_takes_empty_cells_of_a_table_for_absent(tmp_path: Path) -> None:
    path = text_file(tmp_path / "a.csv", "text,mention,offset,kb_id,start,end", f"{SENTENCE},大鹏,2,,,")
    assert list(read_mentions(path)) == [Mention(SENTENCE, 2, 4)]


def test_read_mentions_names_the_line_of_a_mention_that_does_not_match(tmp_path: Path) -> None:
    good, bad = ({"text": SENTENCE, "mention": "大鹏", "offset": offset} for offset in (2, 3))
    with pytest.raises(DataFileError, match=r"a\.jsonl:2: mention '大鹏' is not at offset 3"):
        list(read_mentions(json_file(tmp_path / "a.jsonl", good, bad)))


def test_read_mentions_names_the_line_of_broken_markers(tmp_path: Path) -> None:
    path = text_file(tmp_path / "a.txt", "[ENT_S] 黄山 [ENT_E] 下雪", "[ENT_S] 黄山 下雪")
    with pytest.raises(DataFileError, match=r"a\.txt:2: 1 \[ENT_S\] and 0 \[ENT_E\]"):
        list(read_mentions(path))


def test_read_mentions_names_the_line_of_a_plain_text_without_mention(tmp_path: Path) -> None:
    path = text_file(tmp_path / "a.txt", "[ENT_S] 黄山 [ENT_E] 下雪", "泰山下雪")
    with pytest.raises(DataFileError, match=r"a\.txt:2: neither a JSON object nor a text with a marked mention"):
        list(read_mentions(path))


def test_read_documents_names_the_line_of_broken_json(tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match=r"a\.jsonl:1: broken JSON"):
        list(read_documents(text_file(tmp_path / "a.jsonl", '{"text": "黄山"')))


def test_read_documents_refuses_an_empty_file(tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match="no text in it"):
        list(read_documents(text_file(tmp_path / "a.jsonl")))


@pytest.mark.parametrize("name", ["kb.csv", "kb.tsv"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_read_entities_finds_the_delimiter_in_the_header(tmp_path: Path, name: str, delimiter: str) -> None:
    path = text_file(tmp_path / name, f'"编号"{delimiter}名称', f"1{delimiter}黄山")
    assert list(read_entities(path)) == [Entity("1", "黄山")]


@pytest.mark.parametrize(
    ("aliases", "expected"),
    [
        ("大鹏、Da Peng", ("大鹏", "Da Peng")),
        ("大鹏；Da Peng；", ("大鹏", "Da Peng")),
        ("《老人、海》、渔夫", ("《老人、海》", "渔夫")),
        ("《老人、海", ("《老人", "海")),
        ("甲、乙|丙", ("甲、乙", "丙")),
        ('["大鹏", "Da, Peng"]', ("大鹏", "Da, Peng")),
        ("[大鹏]", ("[大鹏]",)),
        ("Washington, D.C.", ("Washington, D.C.",)),
    ],
)
def test_read_entities_splits_aliases_where_it_is_unmistakable(
    tmp_path: Path, aliases: str, expected: tuple[str, ...]
) -> None:
    path = json_file(tmp_path / "kb.jsonl", {"id": "1", "name": "黄山", "aliases": aliases})
    assert next(read_entities(path)).aliases == expected


def test_read_entities_splits_aliases_at_a_given_separator(tmp_path: Path) -> None:
    path = text_file(tmp_path / "kb.csv", "id,name,aliases,types", '1,董成鹏,"大鹏, 鹏、哥|甲","Person,Thing"')
    (entity,) = read_entities(path, alias_separator=",")
    assert (entity.aliases, entity.types) == (("大鹏", "鹏、哥|甲"), ("Person", "Thing"))


def test_read_entities_warns_of_aliases_that_may_be_several(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = text_file(tmp_path / "kb.tsv", "id\tname\talias", "1\t董成鹏\t大鹏,鹏鹏")
    assert next(iter(list(read_entities(path)))).aliases == ("大鹏,鹏鹏",)
    assert "'大鹏,鹏鹏' are read as one name" in caplog.text


def test_read_entities_names_unknown_fields_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = json_file(tmp_path / "kb.jsonl", *({"id": i, "name": "山", "url": "", "rank": 1} for i in range(3)))
    report = ReadReport()
    for _ in range(2):
        assert len(list(read_entities(path, report=report))) == 3
    assert [record.getMessage() for record in caplog.records] == [f"{path}: unknown fields 'url', 'rank' are not read"]
    assert report.describe() == f"{path}: 3 entities, unknown fields 'url', 'rank' not read"


def test_read_entities_skips_broken_records_when_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    good = ['{"id": "1", "name": "黄山"}', '{"id": "2", "name": "泰山"}']
    lines = [good[0], "broken", "", '{"id": "3"}', '{"id": "1", "name": "华山"}', "[1]", '{"a": "\\ud800"}', good[1]]
    path = tmp_path / "kb.jsonl"
    path.write_bytes("\n".join(lines).encode() + b"\n\xff\xfe")
    report = ReadReport()
    assert [entity.id for entity in read_entities(path, skip_broken=True, report=report)] == ["1", "2"]
    assert (report.records, report.skipped, report.blank, report.lines) == (2, 6, 1, 9)
    assert [place.removeprefix(str(path))[:3] for place in report.first_skipped] == [":2:", ":4:", ":5:"]
    assert "6 broken records" in caplog.text
    with pytest.raises(DataFileError, match=r"kb\.jsonl:2: broken JSON"):
        list(read_entities(path))


def test_read_entities_refuses_a_file_of_which_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match="no entity in it"):
        list(read_entities(text_file(tmp_path / "kb.jsonl", "x", "y"), skip_broken=True))


def test_read_entities_skips_the_row_with_an_open_quote_and_no_other(tmp_path: Path) -> None:
    report = ReadReport()
    path = text_file(tmp_path / "kb.csv", "id,name", "1,黄山", '2,"泰山', "3,华山", '4,"嵩"山', "5,衡山")
    assert [entity.id for entity in read_entities(path, skip_broken=True, report=report)] == ["1", "3", "5"]
    assert (report.skipped, report.lines) == (2, 6)


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("kb.tsv", ["id\tname", '1\t"黄山', '2\t泰山"']),
        ("kb.tsv", ["id\tname\tdesc", '1\t"黄山\tx', '2\t泰山"\ty']),
        ("kb.csv", ["id,name", 'Q1,"黄山', 'Q22,泰山"']),
    ],
)
def test_read_entities_does_not_merge_rows_with_stray_quotes(tmp_path: Path, name: str, rows: list[str]) -> None:
    with pytest.raises(DataFileError, match=r":2: a quoted field goes on into what looks like further rows"):
        list(read_entities(text_file(tmp_path / name, *rows)))


@pytest.mark.parametrize("row", [",", ", ,,,", "\t"])
def test_read_entities_skips_blank_rows_and_blank_cells_behind_the_header(tmp_path: Path, row: str) -> None:
    path = text_file(tmp_path / "kb.csv", "id,name,,", "1,黄山,,,,", row, "2,泰山")
    assert [entity.id for entity in read_entities(path)] == ["1", "2"]


def test_read_entities_reads_the_null_of_databases_as_an_empty_cell(tmp_path: Path) -> None:
    path = text_file(tmp_path / "kb.tsv", "id\tname\taliases", "1\t黄山\t\\N")
    assert list(read_entities(path)) == [Entity("1", "黄山")]


def test_read_entities_refuses_a_second_header(tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match=r"kb\.csv:3: the header a second time"):
        list(read_entities(text_file(tmp_path / "kb.csv", "id,name", "1,黄山", "\ufeffid,name", "2,泰山")))


@pytest.mark.parametrize("name", ["kb.csv", "kb.jsonl"])
@pytest.mark.parametrize("line_break", ["\r", "\r\n", "\n"])
def test_read_entities_reads_every_line_break(tmp_path: Path, name: str, line_break: str) -> None:
    lines = (
        ["id,name", "1,黄山", "2,泰山"] if name == "kb.csv" else [json.dumps({"id": i, "name": "山"}) for i in (1, 2)]
    )
    (tmp_path / name).write_bytes(("\ufeff" + line_break.join(lines)).encode())
    assert [entity.id for entity in read_entities(tmp_path / name)] == ["1", "2"]


@pytest.mark.parametrize(("indent", "start"), [(None, ""), (1, ""), (4, "\ufeff\n ")])
def test_read_entities_reads_a_json_array(tmp_path: Path, indent: int | None, start: str) -> None:
    entities = [DAPENG, Entity("3", 'a"]}[{\\', facts=(("a", "[{"),)), HUANGSHAN]
    text = json.dumps([entity.to_record() for entity in entities], indent=indent)
    path = text_file(tmp_path / "kb.json", start + text + "\n")
    assert list(read_entities(path)) == entities


def test_read_entities_names_the_record_of_a_json_array(tmp_path: Path) -> None:
    path = text_file(tmp_path / "kb.json", '[{"id": 1, "name": "a"}, {"id": 2}, 5, {"id": 3, "name": "b"}]')
    with pytest.raises(DataFileError, match=r"kb\.json, record 2: 'name' is missing"):
        list(read_entities(path))
    report = ReadReport()
    assert [entity.id for entity in read_entities(path, skip_broken=True, report=report)] == ["1", "3"]
    assert report.skipped == 2


@pytest.mark.parametrize(
    "text",
    [
        '[{"id": 1, "name": "a"},\n',
        '[{"id": 1, "name": "a"}',
        '[{"id": 1, "name": "a"}] x',
        '[{"id": 1, "name": "a"}]\n[]',
        '[{"id": 1 "name": "a"}]',
        '[{"a":' + "[" * 100_000 + "]" * 100_000 + "}]",
        "[\n{\n",
    ],
)
def test_read_entities_refuses_a_damaged_json_array(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataFileError, match=r"kb\.json"):
        list(read_entities(text_file(tmp_path / "kb.json", text)))


def test_read_entities_says_that_it_was_given_mentions(tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match="one of mentions rather than a knowledge base"):
        list(read_entities(json_file(tmp_path / "a.jsonl", {"text": SENTENCE, "mention_data": []})))


def test_read_mentions_says_that_it_was_given_entities(tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match="a knowledge base rather than one of mentions"):
        list(read_mentions(json_file(tmp_path / "a.jsonl", DAPENG.to_record())))


@pytest.mark.parametrize(
    "record", [{"text": SENTENCE, "entities": []}, {"text": SENTENCE}, {"text": "山", "mentions": []}]
)
def test_read_mentions_refuses_a_file_without_a_mention(tmp_path: Path, record: dict[str, Any]) -> None:
    with pytest.raises(DataFileError, match="no mention in it"):
        list(read_mentions(json_file(tmp_path / "a.jsonl", record)))


def test_read_mentions_counts_texts_without_a_mention(tmp_path: Path) -> None:
    report = ReadReport()
    path = json_file(tmp_path / "a.jsonl", {"text": SENTENCE}, {"text": SENTENCE, "mention": "大鹏"})
    assert len(list(read_mentions(path, report=report))) == 1
    assert report.describe() == f"{path}: 1 mention in 2 texts, 1 text without a mention"


@pytest.mark.parametrize(
    ("row", "message"), [("1,黄山", "has to name the columns, .* it has '1', '黄山'"), ('{"id": 1}', "JSON in a file")]
)
def test_read_entities_refuses_a_table_without_a_header(tmp_path: Path, row: str, message: str) -> None:
    with pytest.raises(DataFileError, match=message):
        list(read_entities(text_file(tmp_path / "kb.csv", row, "2,泰山"), skip_broken=True))
