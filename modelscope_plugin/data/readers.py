"""Knowledge bases and annotated texts from files, streaming.

Formats, told apart by the file's name and the fields of its records:

* JSON lines as published for CCKS 2019 and CCKS 2020 (DuEL 2.0) entity linking;
* JSON lines in this package's own form (see `modelscope_plugin.data.parsing`);
* CSV (``.csv``) and tab-separated (``.tsv``) files with a header that names the same fields,
  lists joined with ``|``;
* for texts, plain ``.txt`` files with one marked text a line.

Each may be gzip-compressed (``.csv.gz``).
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from modelscope_plugin.data.lines import read_lines
from modelscope_plugin.data.parsing import parse_document, parse_entity
from modelscope_plugin.data.records import Document, Entity, Mention
from modelscope_plugin.errors import DataFileError, InputError

_Parsed = TypeVar("_Parsed")


def read_entities(path: str | Path, *, encoding: str = "utf-8") -> Iterator[Entity]:
    """Stream the entities of a knowledge base.

    Args:
        path: The file, in one of the formats above; ``-`` is standard input (JSON lines).
        encoding: Encoding of the file.

    Yields:
        The entities in file order.

    Raises:
        DataFileError: If a line is broken, an id is missing or occurs twice, or there is no entity.
        MissingFileError: If there is no such file.
    """
    seen: dict[str, int] = {}
    missing = "no entity in it; a knowledge base has one entity a line"
    for number, entity in _parse_records(path, encoding, parse_entity, missing):
        first = seen.setdefault(entity.id, number)
        if first != number:
            raise DataFileError(f"{path}:{number}: id {entity.id!r} is already in line {first}; ids must be unique")
        yield entity


def read_documents(path: str | Path, *, encoding: str = "utf-8", unmarked: bool = False) -> Iterator[Document]:
    """Stream texts with their mentions.

    Args:
        path: The file, in one of the formats above; ``-`` is standard input (JSON lines or marked texts).
        encoding: Encoding of the file.
        unmarked: Whether plain texts without any mention are accepted.

    Yields:
        The texts in file order, also those without a mention.

    Raises:
        DataFileError: If a line is broken, offsets do not fit the text, or the file is empty.
        MissingFileError: If there is no such file.
    """
    missing = "no text in it; a file of mentions has one text a line"
    for _, document in _parse_records(path, encoding, parse_document, missing, plain_text=True, unmarked=unmarked):
        yield document


def read_mentions(path: str | Path, *, encoding: str = "utf-8") -> Iterator[Mention]:
    """Stream the mentions of a file; `read_documents` reads the same and keeps them together with their text."""
    for document in read_documents(path, encoding=encoding):
        yield from document.mentions


def _parse_records(
    path: str | Path,
    encoding: str,
    parse: Callable[[Mapping[str, Any]], _Parsed],
    missing: str,
    *,
    plain_text: bool = False,
    unmarked: bool = False,
) -> Iterator[tuple[int, _Parsed]]:
    """Parse every record of a file and yield it with its line number; an error names file and line.

    ``missing`` is the error of a file without any record.
    """
    suffixes = [suffix.lower() for suffix in Path(path).suffixes]
    if suffixes[-1:] == [".gz"]:
        suffixes.pop()
    suffix = suffixes[-1] if suffixes else ""
    if suffix in (".csv", ".tsv"):
        records = _read_table(path, encoding, "," if suffix == ".csv" else "\t")
    else:
        records = _read_json_lines(path, encoding, plain_text, unmarked)
    number = 0
    for number, record in records:
        try:
            parsed = parse(record)
        except InputError as error:
            raise DataFileError(f"{path}:{number}: {error}") from None
        yield number, parsed
    if not number:
        raise DataFileError(f"{path}: {missing}")


def _read_json_lines(
    path: str | Path, encoding: str, plain_text: bool, unmarked: bool
) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in read_lines(path, encoding):
        line = line.strip()
        if not line:
            continue
        if plain_text and not line.startswith("{"):
            if "[ENT_" not in line and not unmarked:
                raise DataFileError(
                    f"{path}:{number}: neither a JSON object nor a text with a marked mention; "
                    "mark the mention as [ENT_S] … [ENT_E]"
                )
            yield number, {"text": line}
            continue
        try:
            record = json.loads(line)
            if "\\ud" in line.lower():
                json.dumps(record, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise DataFileError(
                f"{path}:{number}: half of a surrogate pair (\\ud…); write the whole character"
            ) from None
        except ValueError as error:
            raise DataFileError(f"{path}:{number}: broken JSON ({error}); each line must be one JSON object") from None
        except RecursionError:
            raise DataFileError(f"{path}:{number}: JSON nested too deeply; each line must be one flat object") from None
        if not isinstance(record, dict):
            raise DataFileError(f"{path}:{number}: {type(record).__name__} instead of a JSON object in the line")
        yield number, record


def _read_table(path: str | Path, encoding: str, delimiter: str) -> Iterator[tuple[int, dict[str, Any]]]:
    # The csv module wants the line breaks back: a quoted field may hold one. Its limit of a field, 128 Ki characters
    # unless another part of the process has set it, stays: it is one for the whole process, and it ends the search for
    # a closing quote that is missing.
    rows = csv.reader((line + "\n" for _, line in read_lines(path, encoding)), delimiter=delimiter, strict=True)
    header: list[str] = []
    line = 0
    while True:
        line = rows.line_num + 1
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            raise DataFileError(
                f"{path}:{line}: broken row ({error}); a field with quotes or line breaks needs quotes around it, and "
                f"one of more than {csv.field_size_limit():,} characters a file of JSON lines"
            ) from None
        if not row:
            continue
        if not header:
            header = [name.strip() for name in row]
            if len(set(header)) != len(header):
                raise DataFileError(f"{path}:{line}: the header names a column twice; give each a name of its own")
        elif len(row) != len(header):
            raise DataFileError(f"{path}:{line}: {len(row)} fields, the header has {len(header)}")
        else:
            yield line, dict(zip(header, row, strict=True))
