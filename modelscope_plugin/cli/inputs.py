"""The files that a command reads, and what it says of them at its end."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from modelscope_plugin.cli.output import print_line
from modelscope_plugin.data.readers import read_documents, read_entities, read_entity_ids, read_mentions
from modelscope_plugin.data.records import Document, Entity, Mention
from modelscope_plugin.data.report import ReadReport

_Read = TypeVar("_Read")


def add_input_options(parser: argparse.ArgumentParser, *, has_entities: bool = True) -> None:
    """Add ``--encoding``, ``--skip-broken`` and, where entities are read, ``--alias-separator``."""
    # fmt: off
    parser.add_argument("--encoding", default="utf-8", help="encoding of the files (default: %(default)s)")
    parser.add_argument("--skip-broken", action="store_true",
        help="leave out records that cannot be used, and say how many and where the first are; by default the first "
        "one is an error")
    if has_entities:
        parser.add_argument("--alias-separator", metavar="TEXT",
            help="what separates the aliases, or types, in one text of a knowledge base (default: | or, outside of "
            "titles and brackets, 、 and ；)")
    # fmt: on


class InputFiles:
    """Reads the files of one command, with the options of `add_input_options`.

    Args:
        args: The parsed arguments.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        self._options: dict[str, Any] = {"encoding": args.encoding, "skip_broken": args.skip_broken}
        self._alias_separator = getattr(args, "alias_separator", None)
        self._reports: dict[str, ReadReport] = {}

    def read_entities(self, path: str) -> Iterator[Entity]:
        """Stream the entities of a knowledge base."""
        return read_entities(
            path, alias_separator=self._alias_separator, report=self._get_report(path), **self._options
        )

    def read_entity_ids(self, path: str) -> Iterator[str]:
        """Stream the ids of a file."""
        return read_entity_ids(path, report=self._get_report(path), **self._options)

    def read_mentions(self, path: str) -> Iterator[Mention]:
        """Stream the mentions of a file."""
        return read_mentions(path, report=self._get_report(path), **self._options)

    def read_documents(self, path: str, *, unmarked: bool) -> Iterator[Document]:
        """Stream the texts of a file with their mentions."""
        return read_documents(path, unmarked=unmarked, report=self._get_report(path), **self._options)

    def make_reader(self, read: Callable[[str], Iterable[_Read]], path: str) -> Callable[[], Iterable[_Read]]:
        """Return a function that reads a file from its beginning at each call; a pipe is read once and kept.

        Args:
            read: One of the methods above.
            path: The file.
        """
        if Path(path).is_file():
            return partial(read, path)
        kept = list(read(path))
        return lambda: kept

    def print_summary(self, used: str = "", left_out: Mapping[str, int] | None = None) -> None:
        """Say on standard error, in one line, what was read, used and left out.

        Args:
            used: What the command made of it.
            left_out: How many there are of what it did not use.
        """
        parts = []
        if self._reports:
            parts.append(f"read {'; '.join(report.describe() for report in self._reports.values())}")
        if used:
            parts.append(used)
        unused = [f"{number:,} {what}" for what, number in (left_out or {}).items() if number]
        if unused:
            parts.append(f"left out: {', '.join(unused)}")
        if parts:
            print_line(" | ".join(parts), file=sys.stderr)

    def _get_report(self, path: str) -> ReadReport:
        return self._reports.setdefault(path, ReadReport())
