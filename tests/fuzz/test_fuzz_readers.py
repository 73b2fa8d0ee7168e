"""Whatever is in a file, it is read or refused with one error of this package, and every line is accounted for.

``ENTITY_FUZZ_EXAMPLES=100000 python -m pytest tests/fuzz tests/retrieval/test_damaged_folder.py`` tries that many
examples for each test instead of the few of the test suite.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from conftest import fuzz_examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelscope_plugin.data.readers import read_documents, read_entities, read_mentions
from modelscope_plugin.data.report import ReadReport
from modelscope_plugin.errors import PluginError

FUZZ = settings(
    deadline=None,
    max_examples=fuzz_examples(60),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
READERS: list[Callable[..., Iterator[Any]]] = [
    read_entities,
    read_mentions,
    read_documents,
    lambda path, **options: read_documents(path, unmarked=True, **options),
]
NAMES = st.sampled_from(["a.jsonl", "a.json", "a.csv", "a.tsv", "a.txt", "a.csv.gz"])
WORDS = st.sampled_from(
    ["大鹏", "Da Peng", "a|b", "甲、乙", "1", "3.0", "", " ", '"', "\\N", "\ufeff", "\x00", "[ENT_S]", "[ENT_E]", "NIL",
     "[", "{}"]
)  # fmt: skip
CELLS = WORDS | st.text(max_size=6)
KEYS = st.sampled_from(
    ["id", "subject_id", "编号", "name", "subject", "名称", "aliases", "alias", "type", "desc", "facts", "data", "text",
     "mention", "offset", "start", "end", "kb_id", "entity_ids", "mentions", "mention_data", "negatives", "text_id",
     "x"]
)  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | CELLS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=8,
)
RECORDS = st.dictionaries(KEYS, VALUES, max_size=6)
VALID = [
    {"id": "1", "name": "董成鹏", "aliases": ["大鹏", "Da Peng"], "facts": [["国籍", "中国"]]},
    {"subject_id": "2", "subject": "黄山", "type": "Location|Other", "data": [{"predicate": "a", "object": "b"}]},
    {"text": "昨晚大鹏开唱", "mention_data": [{"kb_id": "1", "mention": "大鹏", "offset": "2"}]},
    {"text": "昨晚 [ENT_S] 大鹏 [ENT_E] 开唱", "entity_id": "1"},
]  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn, sources: st.SearchStrategy[bytes]) -> bytes:
    """A file in which some bytes are removed, doubled or replaced."""
    data = bytearray(draw(sources))
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.integers(0, 6)))
        data[start:end] = draw(st.sampled_from([b"", b'"', b"\r", b"\n", b"\0", b",", b";", b"\t", b"{", b"]", b"\xff"])
                               | st.just(bytes(data[start:end]) * 2) | st.binary(max_size=3))  # fmt: skip
    return bytes(data)


def _lines(records: list[Any]) -> bytes:
    return "\n".join(json.dumps(record, ensure_ascii=False) for record in records).encode("utf-8", "surrogatepass")


def _table(rows: list[list[str]], delimiter: str) -> bytes:
    stream = io.StringIO()
    csv.writer(stream, delimiter=delimiter, lineterminator="\n").writerows(rows)
    return stream.getvalue().encode("utf-8", "surrogatepass")


JSON_LINES = st.lists(RECORDS | st.sampled_from(VALID), min_size=1, max_size=5).map(_lines)
ARRAYS = st.builds(
    lambda records, indent: json.dumps(records, indent=indent).encode(),
    st.lists(RECORDS | st.sampled_from(VALID), max_size=4), st.none() | st.integers(0, 2),
)  # fmt: skip
TABLES = st.builds(
    lambda header, rows, delimiter: _table([header, *rows], delimiter),
    st.lists(KEYS, min_size=1, max_size=5), st.lists(st.lists(CELLS, min_size=1, max_size=6), max_size=5),
    st.sampled_from([",", ";", "\t"]),
)  # fmt: skip
FILES = st.binary(max_size=200) | mutated(JSON_LINES) | mutated(ARRAYS) | mutated(TABLES)


@FUZZ
@given(data=FILES, name=NAMES, reader=st.sampled_from(READERS), skip_broken=st.booleans())
def test_any_file_is_read_or_refused(
    tmp_path: Path, data: bytes, name: str, reader: Callable[..., Iterator[Any]], skip_broken: bool
) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    report = ReadReport()
    with suppress(PluginError):
        for _ in reader(path, skip_broken=skip_broken, report=report):
            pass
    assert str(path) in report.describe()


@FUZZ
@given(data=mutated(JSON_LINES), reader=st.sampled_from(READERS))
def test_every_json_line_is_read_or_counted(tmp_path: Path, data: bytes, reader: Callable[..., Iterator[Any]]) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(data)
    report = ReadReport()
    try:
        for _ in reader(path, skip_broken=True, report=report):
            pass
    except PluginError as error:
        if report.records or "damaged gzip" in str(error) or " is " in str(error) or "JSON array" in str(error):
            return  # refused as a whole
    if report.unit == "line":
        assert report.records + report.skipped + report.blank == report.lines


@FUZZ
@given(
    cells=st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=6),
    delimiter=st.sampled_from([",", ";", "\t"]),
    line_break=st.sampled_from(["\n", "\r\n", "\r"]),
)
def test_every_row_of_a_table_without_quotes_is_read_or_counted(
    tmp_path: Path, cells: list[tuple[str, ...]], delimiter: str, line_break: str
) -> None:
    rows = [[_clean(cell) for cell in row] for row in cells]
    lines = [["id", "name", "alias"], *([str(i), *row[1:]] for i, row in enumerate(rows))]
    path = tmp_path / "a.csv"
    path.write_bytes(line_break.join(delimiter.join(row) for row in lines).encode("utf-8", "surrogatepass"))
    report = ReadReport()
    entities: list[Any] = []
    with suppress(PluginError):  # there may be no entity in it
        entities.extend(read_entities(path, skip_broken=True, report=report))
    assert 1 + report.records + report.skipped + report.blank == report.lines == len(lines)
    # Each row that is read is one line: ids do not wander to other names.
    assert all(entity.name.strip() == rows[int(entity.id)][1].strip() for entity in entities if entity.name != "\\N")


def _clean(cell: str) -> str:
    """A cell as a database writes it that knows no quoting: without delimiters, and with stray quotes."""
    return "".join(one for one in cell if one not in ",;\t\r\n")


@FUZZ
@given(
    rows=st.lists(st.lists(CELLS, min_size=2, max_size=2), min_size=1, max_size=5),
    delimiter=st.sampled_from([",", "\t"]),
)
def test_rows_of_the_csv_module_come_back(tmp_path: Path, rows: list[list[str]], delimiter: str) -> None:
    table = [["id", "name", "description"], *([f"Q{i}", f"名{i}", row[1]] for i, row in enumerate(rows))]
    path = tmp_path / "a.csv"
    path.write_bytes(_table(table, delimiter))
    report = ReadReport()
    entities: list[Any] = []
    with suppress(PluginError):  # the module writes a lone carriage return without quotes, so that all may be rejected
        entities.extend(read_entities(path, skip_broken=True, report=report))
    assert len(entities) + report.skipped == len(rows) or not _is_utf8(path)
    for entity in entities:
        wanted = table[int(entity.id[1:]) + 1][2]
        assert _join_breaks(entity.description) == _join_breaks("" if wanted == "\\N" else wanted)


def _is_utf8(path: Path) -> bool:
    try:
        path.read_bytes().decode()
    except UnicodeError:
        return False
    return True


def _join_breaks(text: str) -> str:
    """A text whose line breaks are all alike; a reader of lines does not tell them apart."""
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\ufeff", "").rstrip("\n")
