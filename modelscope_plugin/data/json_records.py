"""Records of JSON files: one object a line, or one array of objects."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from modelscope_plugin.data.lines import MAX_LINE_BYTES, read_lines
from modelscope_plugin.data.report import ReadReport
from modelscope_plugin.errors import DataFileError

_ARRAY_BEGINS = re.compile(r"\[\s*(?:[{\]]|$)")
_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"')
_SPACE = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()


def read_json_records(
    path: str | Path, encoding: str, report: ReadReport, *, plain_text: str = "", unmarked: bool = False
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Stream the objects of a file of JSON lines, or of one JSON array.

    Args:
        path: The file; ``-`` is standard input.
        encoding: Encoding of the file.
        report: Counts what is read and is told what cannot be used.
        plain_text: The field that a line holds which is a text in place of an object; empty where none may be.
        unmarked: Whether such a text may have no mention.

    Yields:
        Line number and object; of an array the number of the object in it.

    Raises:
        DataFileError: If a line cannot be used and is not left out, or the array is damaged.
    """
    lines = read_lines(path, encoding, report)
    for number, line in lines:
        line = line.strip()
        if line and _ARRAY_BEGINS.match(line):
            yield from _read_array(path, chain([(number, line)], lines), report)
            return
        if line:
            lines = chain([(number, line)], lines)
            break
        report.blank += 1
    for number, line in lines:
        line = line.strip()
        if not line:
            report.blank += 1
            continue
        if plain_text and not line.startswith("{"):
            if "[ENT_" in line or unmarked:
                yield number, {plain_text: line}
                continue
            report.reject(
                number,
                "neither a JSON object nor a text with a marked mention; mark the mention as [ENT_S] … [ENT_E]",
            )
            continue
        try:
            record = _DECODER.decode(line.removeprefix("\ufeff"))
        except ValueError as error:
            hint = "" if line.startswith("{") else ", or the name of a table end in .csv or .tsv"
            report.reject(number, f"broken JSON ({error}); each line must be one JSON object{hint}")
            continue
        except RecursionError:
            report.reject(number, "JSON nested too deeply; each line must be one flat object")
            continue
        if _is_usable(number, record, line, report):
            yield number, record


def _read_array(
    path: str | Path, lines: Iterator[tuple[int, str]], report: ReadReport
) -> Iterator[tuple[int, dict[str, Any]]]:
    report.unit = "record"
    count = depth = length = 0
    waiting: list[str] = []
    is_first, is_closed = True, False
    for number, line in lines:
        line = line.strip()
        if is_closed and line:
            raise DataFileError(f"{path}:{number}: text behind the end of the JSON array; a file holds one array")
        waiting.append(line)
        length += len(line)
        if length > MAX_LINE_BYTES:
            raise DataFileError(
                f"{path}:{number}: a record of the JSON array has more than {MAX_LINE_BYTES >> 20} MiB; "
                "write one record a line"
            )
        # No string of JSON goes over the end of a line, so brackets outside of strings say where records end.
        signs = _STRING.sub("", line)
        depth += signs.count("{") + signs.count("[") - signs.count("}") - signs.count("]")
        if depth > 1:
            continue
        text = "\n".join(waiting)
        waiting, length = [], 0
        try:
            position = 1 if is_first else 0
            is_first = False
            while (position := _skip(text, position)) < len(text):
                if text[position] == "]":
                    is_closed = True
                    if text[position + 1 :].strip():
                        raise DataFileError(
                            f"{path}:{number}: text behind the end of the JSON array; a file holds one array"
                        )
                    break
                if text[position] == "," and count:
                    position = _skip(text, position + 1)
                    if position == len(text):
                        break
                begin = position
                record, position = _DECODER.raw_decode(text, position)
                count += 1
                if _is_usable(count, record, text[begin:position], report):
                    yield count, record
        except ValueError as error:
            if isinstance(error, DataFileError):
                raise
            raise DataFileError(f"{path}:{number}: broken JSON array before the end of this line ({error})") from None
        except RecursionError:
            raise DataFileError(f"{path}:{number}: JSON nested too deeply") from None
    if not is_closed:
        raise DataFileError(f"{path}: the JSON array has no end; is the file complete?")


def _skip(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    return position if match is None else match.end()


def _is_usable(number: int, record: Any, text: str, report: ReadReport) -> bool:
    """True for an object of whole characters; anything else is rejected."""
    if not isinstance(record, dict):
        report.reject(number, f"{type(record).__name__} instead of a JSON object in the {report.unit}")
        return False
    if "\\ud" in text or "\\uD" in text:
        try:
            json.dumps(record, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            report.reject(number, "half of a surrogate pair (\\ud…); write the whole character")
            return False
    return True
