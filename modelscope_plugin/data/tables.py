"""Rows of CSV and tab-separated files."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from modelscope_plugin.data.lines import read_lines
from modelscope_plugin.data.report import ReadReport
from modelscope_plugin.errors import DataFileError

_DELIMITERS = (",", ";", "\t")
# What MySQL and PostgreSQL write for a cell without a value.
_NULL = "\\N"


class _Lines:
    """The lines of a file with their breaks, and those that the last row was made of.

    Lines that a broken row has taken can be put back, so that an open quote does not swallow the rows behind it.
    """

    def __init__(self, lines: Iterator[tuple[int, str]]) -> None:
        self._lines = lines
        self._returned: list[tuple[int, str]] = []
        self.taken: list[tuple[int, str]] = []

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        number, line = self._returned.pop() if self._returned else next(self._lines)
        # The csv module wants the line breaks back: a quoted field may hold one.
        line = line.removeprefix("\ufeff") + "\n" if not line.endswith("\n") else line
        self.taken.append((number, line))
        return line

    def put_back(self, kept: int) -> None:
        """Put all lines of the last row back except for the first ``kept``."""
        self._returned += reversed(self.taken[kept:])
        del self.taken[kept:]


def read_table(
    path: str | Path,
    encoding: str,
    delimiter: str,
    count_known: Callable[[Sequence[str]], int],
    report: ReadReport,
) -> Iterator[tuple[int, dict[str, Any]]]:
    r"""Stream the rows of a table with a header.

    Blank rows (``,,,``) and blank cells behind the last column are passed over; ``\N`` is an empty cell. A row whose
    quoted field spans what looks like further rows is rejected: a quote in a table that was written without quoting
    would otherwise merge them.

    Args:
        path: The file; ``-`` is standard input.
        encoding: Encoding of the file.
        delimiter: What separates the columns. If another one of comma, semicolon and tab gives more known columns,
            that one does.
        count_known: Says how many names of columns are known.
        report: Counts what is read and is told what cannot be used.

    Yields:
        Number of the line where the row begins, and its cells by column.

    Raises:
        DataFileError: If the header cannot be used, or a row cannot and is not left out.
    """
    # Its limit of a field, 128 Ki characters unless another part of the process has set it, stays: it is one for the
    # whole process, and it ends the search for a closing quote that is missing.
    lines = _Lines(read_lines(path, encoding, report))
    for line in lines:
        if line.strip():
            delimiter = _choose_delimiter(line, delimiter, count_known)
            lines.put_back(0)
            break
        report.blank += 1
        lines.taken.clear()
    rows = csv.reader(lines, delimiter=delimiter, strict=True)
    header: list[str] = []
    while True:
        lines.taken.clear()
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            number = lines.taken[0][0]
            lines.put_back(1)
            report.reject(
                number,
                f"broken row ({error}); a field with quotes or line breaks needs quotes around it, and one of more "
                f"than {csv.field_size_limit():,} characters a file of JSON lines",
            )
            continue
        number = lines.taken[0][0]
        if not any(map(str.strip, row)):
            report.blank += len(lines.taken)
        elif not header:
            header = _check_header(path, number, row, count_known)
        elif len(lines.taken) > 1 and _spans_rows([line for _, line in lines.taken], delimiter, len(header)):
            lines.put_back(1)
            report.reject(
                number,
                "a quoted field goes on into what looks like further rows; double the quotes inside of fields, or "
                "write JSON lines",
            )
        elif row[: len(header)] == header:
            report.reject(number, "the header a second time; join tables without their headers")
        elif len(row) != len(header) and (len(row) < len(header) or any(map(str.strip, row[len(header) :]))):
            report.reject(number, f"{len(row)} fields, the header has {len(header)}")
        else:
            if _NULL in row:
                row = ["" if cell == _NULL else cell for cell in row]
            yield number, dict(zip(header, row, strict=False))


def _choose_delimiter(line: str, default: str, count_known: Callable[[Sequence[str]], int]) -> str:
    def known(delimiter: str) -> int:
        try:
            return count_known(tuple(name.strip() for name in next(csv.reader([line], delimiter=delimiter))))
        except csv.Error:
            return 0

    # Of equal ones the default.
    return max((default, *_DELIMITERS), key=known)


def _check_header(
    path: str | Path, number: int, row: list[str], count_known: Callable[[Sequence[str]], int]
) -> list[str]:
    header = [name.strip() for name in row]
    while header and not header[-1]:
        header.pop()
    if header[0].startswith(("{", "[")):
        raise DataFileError(f"{path}:{number}: JSON in a file whose name is that of a table; let it end in .jsonl")
    if not count_known(header):
        columns = ", ".join(repr(name[:40]) for name in header[:8])
        raise DataFileError(
            f"{path}:{number}: the first row has to name the columns, such as id and name, or text and mention; it has "
            f"{columns}"
        )
    if len(set(header)) != len(header):
        raise DataFileError(f"{path}:{number}: the header names a column twice; give each a name of its own")
    return header


def _spans_rows(lines: list[str], delimiter: str, columns: int) -> bool:
    """True if a row of several lines looks like several rows of a table that was written without quoting.

    Its first line and a later one then have as many cells as the header. In running text with commas that can happen by
    chance; there the first cells are also alike, as ids are.
    """
    first, *others = (line.rstrip("\n").split(delimiter) for line in lines)
    return len(first) == columns > 1 and any(
        len(cells) == columns and (delimiter == "\t" or _shape(cells[0]) == _shape(first[0])) for cells in others
    )


def _shape(cell: str) -> str:
    return re.sub(r"[^\W\d]+", "a", re.sub(r"\d+", "0", cell.strip()))
