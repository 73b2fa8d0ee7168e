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
