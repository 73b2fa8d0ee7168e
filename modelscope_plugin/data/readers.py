"""Knowledge bases and annotated texts from files, streaming.

Formats, told apart by the file's name and its content:

* JSON lines as published for CCKS 2019 and CCKS 2020 (DuEL 2.0) entity linking;
* JSON lines in this package's own form (see `modelscope_plugin.data.parsing`);
* one JSON array of such objects;
* CSV (``.csv``) and tab-separated (``.tsv``) files with a header that names the same fields, lists in one cell (see
  `modelscope_plugin.data.separators`);
* for texts, plain ``.txt`` files with one marked text a line.

Each may be gzip-compressed (``.csv.gz``). What is left out of a file is logged as a warning, or is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from modelscope_plugin.data.fields import ENTITY_FIELDS, TEXT_FIELDS, Fields
from modelscope_plugin.data.json_records import read_json_records
from modelscope_plugin.data.parsing import parse_document, parse_entity, parse_entity_id
from modelscope_plugin.data.records import Document, Entity, Mention
from modelscope_plugin.data.report import ReadReport
from modelscope_plugin.data.tables import read_table
from modelscope_plugin.errors import DataFileError, InputError

_Parsed = TypeVar("_Parsed")
_DELIMITERS = {".csv": ",", ".tsv": "\t"}


def read_entities(
    path: str | Path,
    *,
    encoding: str = "utf-8",
    skip_broken: bool = False,
    alias_separator: str | None = None,
    report: ReadReport | None = None,
) -> Iterator[Entity]:
    """Stream the entities of a knowledge base.

    Args:
        path: The file, in one of the formats above; ``-`` is standard input (JSON).
        encoding: Encoding of the file.
        skip_broken: Whether a record that cannot be used is left out; by default it is an error.
        alias_separator: What separates several aliases, or types, in one text; by default ``|`` or what
            `split_list` finds unmistakable.
        report: Is filled with what was read and left out.

    Yields:
        The entities in file order.

    Raises:
        DataFileError: If a line is broken, an id is missing or occurs twice, or there is no entity.
        MissingFileError: If there is no such file.
    """
    report = _begin(report, path, skip_broken)
    seen: dict[str, int] = {}
    records = _read_records(path, encoding, report, ENTITY_FIELDS)
    parse = partial(parse_entity, alias_separator=alias_separator, report=report)
    for number, entity in _parse_records(records, parse, report):
        first = seen.setdefault(entity.id, number)
        if first != number:
            report.reject(number, f"id {entity.id!r} is already in {report.unit} {first}; ids must be unique")
            continue
        report.records += 1
        yield entity
    _end(report, "no entity in it; a knowledge base has one entity a line")


def read_documents(
    path: str | Path,
    *,
    encoding: str = "utf-8",
    unmarked: bool = False,
    skip_broken: bool = False,
    report: ReadReport | None = None,
) -> Iterator[Document]:
    """Stream texts with their mentions.

    Args:
        path: The file, in one of the formats above; ``-`` is standard input (JSON or marked texts).
        encoding: Encoding of the file.
        unmarked: Whether plain texts without any mention are accepted.
        skip_broken: Whether a record that cannot be used is left out; by default it is an error.
        report: Is filled with what was read and left out.

    Yields:
        The texts in file order, also those without a mention.

    Raises:
        DataFileError: If a line is broken, offsets do not fit the text, or the file is empty.
        MissingFileError: If there is no such file.
    """
    report = _begin(report, path, skip_broken)
    records = _read_records(path, encoding, report, TEXT_FIELDS, plain_text="text", unmarked=unmarked)
    for _, document in _parse_records(records, partial(parse_document, report=report), report):
        report.records += 1
        report.mentions += len(document.mentions)
        report.texts_without_mention += not document.mentions
        yield document
    _end(report, "no text in it; a file of mentions has one text a line")


def read_mentions(
    path: str | Path, *, encoding: str = "utf-8", skip_broken: bool = False, report: ReadReport | None = None
) -> Iterator[Mention]:
    """Stream the mentions of a file; `read_documents` reads the same and keeps them together with their text.

    Raises:
        DataFileError: As `read_documents`, and if no text of the file has a mention.
        MissingFileError: If there is no such file.
    """
    report = report or ReadReport()
    for document in read_documents(path, encoding=encoding, skip_broken=skip_broken, report=report):
        yield from document.mentions
    if not report.mentions:
        raise DataFileError(
            f"{path}: no mention in it; a text has its mentions as 'mentions' or 'mention_data', as 'start' and 'end' "
            "beside it, or between [ENT_S] and [ENT_E]"
        )


def read_entity_ids(
    path: str | Path, *, encoding: str = "utf-8", skip_broken: bool = False, report: ReadReport | None = None
) -> Iterator[str]:
    """Stream the ids of a file: one on each line, or those of the entities of a knowledge base.

    Args:
        path: The file; a line is an id unless it is a JSON object. It may also be a JSON array or a table with a column
            of ids. ``-`` is standard input.
        encoding: Encoding of the file.
        skip_broken: Whether a record without an id is left out; by default it is an error.
        report: Is filled with what was read and left out.

    Yields:
        The ids in file order.

    Raises:
        DataFileError: If a line is broken or has no id.
        MissingFileError: If there is no such file.
    """
    report = _begin(report, path, skip_broken)
    records = _read_records(path, encoding, report, ENTITY_FIELDS, plain_text="id", unmarked=True)
    for _, one in _parse_records(records, parse_entity_id, report):
        report.records += 1
        yield one
    report.log()


def _begin(report: ReadReport | None, path: str | Path, skip_broken: bool) -> ReadReport:
    report = report or ReadReport()
    report.begin(path, skip_broken=skip_broken)
    return report


def _end(report: ReadReport, missing: str) -> None:
    report.log()
    if not report.records:
        raise DataFileError(f"{report.path}: {missing}")


def _read_records(
    path: str | Path,
    encoding: str,
    report: ReadReport,
    fields: Fields,
    *,
    plain_text: str = "",
    unmarked: bool = False,
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Every record of a file with the number of its line."""
    suffixes = [suffix.lower() for suffix in Path(path).suffixes]
    if suffixes[-1:] == [".gz"]:
        suffixes.pop()
    delimiter = _DELIMITERS.get(suffixes[-1] if suffixes else "")
    if delimiter is None:
        return read_json_records(path, encoding, report, plain_text=plain_text, unmarked=unmarked)
    return read_table(path, encoding, delimiter, lambda names: len(fields.find(tuple(names)).keys), report)


def _parse_records(
    records: Iterator[tuple[int, dict[str, Any]]], parse: Callable[[Mapping[str, Any]], _Parsed], report: ReadReport
) -> Iterator[tuple[int, _Parsed]]:
    """Parse records; one that cannot be used is rejected with its line."""
    for number, record in records:
        try:
            parsed = parse(record)
        except InputError as error:
            report.reject(number, str(error))
        else:
            yield number, parsed
