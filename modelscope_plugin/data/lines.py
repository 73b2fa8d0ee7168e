"""Lines of text files, plain or gzip, with file and line number in every error."""

from __future__ import annotations

import codecs
import gzip
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from modelscope_plugin.data.report import ReadReport
from modelscope_plugin.errors import DataFileError, InputError, MissingFileError

_GZIP_MAGIC = b"\x1f\x8b"
_BLOCK_BYTES = 1 << 16
# Files that are no text, by their first bytes.
_FOREIGN = {
    b"PK\x03\x04": "an Excel workbook or another ZIP archive; save the table as CSV (UTF-8), or unpack it",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook; save the table as CSV (UTF-8)",
    b"BZh91AY&SY": "compressed with bzip2; unpack it, or compress it with gzip",
    b"\xfd7zXZ": "compressed with xz; unpack it, or compress it with gzip",
    b"\x28\xb5\x2f\xfd": "compressed with zstd; unpack it, or compress it with gzip",
    b"PAR1\x15": "a Parquet file; write it as JSON lines",
    b"SQLite format 3": "an SQLite database; export the table as CSV or JSON lines",
    codecs.BOM_UTF16_LE: "UTF-16 text; save the file as UTF-8",
    codecs.BOM_UTF16_BE: "UTF-16 text; save the file as UTF-8",
}

MAX_LINE_BYTES = 64 << 20
"""Bytes of the longest line; a small gzip file could hold one that fills the memory."""


def read_lines(
    path: str | Path, encoding: str = "utf-8", report: ReadReport | None = None
) -> Iterator[tuple[int, str]]:
    """Stream the lines of a file.

    Lines end with LF or CRLF; if the first line holds a CR, as in files of old Macintosh programs, also with CR alone.

    Args:
        path: The file, plain or gzip (told by its content); ``-`` is standard input.
        encoding: Encoding of the file. A byte-order mark at its beginning is dropped.
        report: Counts the lines, and decides whether a line that is not in that encoding is left out.

    Yields:
        Line number, counted from 1, and the line without its line break.

    Raises:
        MissingFileError: If there is no such file.
        DataFileError: If a line is not in that encoding or longer than `MAX_LINE_BYTES`, a gzip file is damaged, or the
            file is no text, such as an Excel workbook.
        InputError: If Python does not know the encoding, or it is one of two or four bytes a character.
    """
    try:
        is_wide = codecs.lookup(encoding).name.startswith(("utf-16", "utf-32"))
        if not is_wide:
            b"a".decode(encoding)
    except (LookupError, ValueError):  # a ValueError: a NUL in its name, or it does not decode an "a"
        raise InputError(
            f"unknown encoding {encoding!r}; name one that Python knows, such as utf-8 or gb18030"
        ) from None
    if is_wide:
        raise InputError(f"files in {encoding} cannot be read line by line; save the file as UTF-8")
    if report is None:
        report = ReadReport()
        report.begin(path, skip_broken=False)
    number = 0
    with _open(path) as stream:
        try:
            for number, raw in enumerate(_split_lines(stream), 1):
                if len(raw) > MAX_LINE_BYTES:
                    raise DataFileError(
                        f"{path}:{number}: the line has more than {MAX_LINE_BYTES >> 20} MiB; write one record a line"
                    )
                if number == 1:
                    _check_is_text(path, raw)
                report.lines = number
                try:
                    line = raw.decode(encoding)
                except UnicodeError as error:
                    report.reject(number, f"not {encoding} text ({error}); {_suggest_encoding(raw)}")
                    continue
                yield number, (line.removeprefix("\ufeff") if number == 1 else line).rstrip("\r\n")
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise DataFileError(f"{path}:{number + 1}: damaged gzip file ({error}); compress it again") from None


def _split_lines(stream: BinaryIO | gzip.GzipFile) -> Iterator[bytes]:
    """The lines with their ends; of one that is too long, its beginning."""
    rest = stream.readline(MAX_LINE_BYTES + 1)
    if b"\r" not in rest.rstrip(b"\r\n"):
        while rest:
            yield rest
            rest = stream.readline(MAX_LINE_BYTES + 1)
        return
    while rest:
        # The last line waits for what follows: its end may be the CR of a CRLF.
        *lines, rest = rest.splitlines(keepends=True)
        yield from lines
        block = b"" if len(rest) > MAX_LINE_BYTES else stream.read(max(_BLOCK_BYTES, len(rest)))
        if not block:
            yield rest
        rest = rest + block if block else b""


def _check_is_text(path: str | Path, first: bytes) -> None:
    for magic, what in _FOREIGN.items():
        if first.startswith(magic):
            raise DataFileError(f"{path} is {what}")


def _suggest_encoding(raw: bytes) -> str:
    try:
        raw.decode("gb18030")
    except UnicodeError:
        return "save it as UTF-8 or name its encoding"
    return "it may be GBK: try --encoding gb18030 (in Python encoding='gb18030'), or save it as UTF-8"


@contextmanager
def _open(path: str | Path) -> Iterator[BinaryIO | gzip.GzipFile]:
    if str(path) == "-":
        yield sys.stdin.buffer
        return
    path = Path(path)
    if path.is_dir():
        raise MissingFileError(f"{path} is a folder; name a file")
    if not path.exists():
        raise MissingFileError(f"there is no file {path}")
    with open(path, "rb") as stream:
        if stream.peek(2)[:2] == _GZIP_MAGIC:
            with gzip.GzipFile(fileobj=stream) as unpacked:
                yield unpacked
        else:
            yield stream
