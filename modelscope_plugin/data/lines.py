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

from modelscope_plugin.errors import DataFileError, InputError, MissingFileError

_GZIP_MAGIC = b"\x1f\x8b"

MAX_LINE_BYTES = 64 << 20
"""Bytes of the longest line; a small gzip file could hold one that fills the memory."""


def read_lines(path: str | Path, encoding: str = "utf-8") -> Iterator[tuple[int, str]]:
    """Stream the lines of a file.

    Args:
        path: The file, plain or gzip (told by its content); ``-`` is standard input.
        encoding: Encoding of the file. A byte-order mark at its beginning is dropped.

    Yields:
        Line number, counted from 1, and the line without its line break.

    Raises:
        MissingFileError: If there is no such file.
        DataFileError: If a line is not in that encoding or longer than `MAX_LINE_BYTES`, or a gzip file is damaged.
        InputError: If Python does not know the encoding, or it is one of two or four bytes a character.
    """
    try:
        if codecs.lookup(encoding).name.startswith(("utf-16", "utf-32")):
            raise InputError(f"files in {encoding} cannot be read line by line; save the file as UTF-8")
        b"a".decode(encoding)
    except (LookupError, UnicodeError):
        raise InputError(
            f"unknown encoding {encoding!r}; name one that Python knows, such as utf-8 or gb18030"
        ) from None
    number = 0
    with _open(path) as stream:
        try:
            for number, raw in enumerate(iter(lambda: stream.readline(MAX_LINE_BYTES + 1), b""), 1):
                if len(raw) > MAX_LINE_BYTES:
                    raise DataFileError(
                        f"{path}:{number}: the line has more than {MAX_LINE_BYTES >> 20} MiB; write one record a line"
                    )
                line = raw.decode(encoding)
                yield number, (line.removeprefix("\ufeff") if number == 1 else line).rstrip("\r\n")
        except UnicodeError as error:
            raise DataFileError(
                f"{path}:{number}: not {encoding} text ({error}); save it as UTF-8 or name its encoding"
            ) from None
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise DataFileError(f"{path}:{number + 1}: damaged gzip file ({error}); compress it again") from None


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
