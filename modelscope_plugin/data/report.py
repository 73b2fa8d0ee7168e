"""What was read of a file, what was left out of it, and why."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

from modelscope_plugin.errors import DataFileError

logger = logging.getLogger(__name__)

_SHOWN = 3
_MAX_FIELDS = 20


class ReadReport:
    """What was read of one file; it is complete when the reader has come to the end of the file.

    Given to a reader, it is filled anew from the beginning of the file. A report that is used for reading a file
    several times logs each warning once.

    Attributes:
        path: The file.
        lines: Lines that were read.
        records: Entities or texts that were read.
        mentions: Mentions in these texts.
        texts_without_mention: Those of the texts that have no mention.
        blank: Blank lines, and rows of a table without a value.
        skipped: Records that were left out because they cannot be used; only with ``skip_broken``.
        first_skipped: What is wrong with the first of them.
        unknown_fields: Fields of records that were not read.
    """

    def __init__(self) -> None:
        self._logged: set[str] = set()
        self.begin("", skip_broken=False)

    def begin(self, path: str | Path, *, skip_broken: bool) -> None:
        """Set all counts to 0 at the beginning of a file."""
        self.path, self.unit = path, "line"
        self._skip_broken = skip_broken
        self.lines = self.records = self.mentions = self.texts_without_mention = self.blank = self.skipped = 0
        self.first_skipped: list[str] = []
        self.unknown_fields: dict[str, None] = {}
        self._joined_aliases: list[str] = []

    def reject(self, number: int, message: str) -> None:
        """Leave out the record of this line.

        Raises:
            DataFileError: If records are not to be left out; it names the file and the line.
        """
        separator = ":" if self.unit == "line" else f", {self.unit} "
        message = f"{self.path}{separator}{number}: {message}"
        if not self._skip_broken:
            raise DataFileError(message)
        self.skipped += 1
        if len(self.first_skipped) < _SHOWN:
            self.first_skipped.append(message)

    def note_unknown_fields(self, fields: Iterable[str]) -> None:
        """Remember fields that were not read."""
        for field in fields:
            if len(self.unknown_fields) < _MAX_FIELDS:
                self.unknown_fields[str(field)] = None

    def note_joined_aliases(self, text: str) -> None:
        """Remember a text that was read as one alias and may be several."""
        if not self._joined_aliases:
            self._joined_aliases.append(text)

    def describe(self) -> str:
        """What was read and left out, in one phrase."""
        parts = []
        if self.mentions or self.texts_without_mention:
            parts.append(f"{count(self.mentions, 'mention')} in {count(self.records, 'text')}")
            if self.texts_without_mention:
                parts.append(f"{count(self.texts_without_mention, 'text')} without a mention")
        else:
            parts.append(count(self.records, "entity", "entities"))
        if self.skipped:
            parts.append(f"{count(self.skipped, 'broken record')} left out")
        if self.unknown_fields:
            parts.append(f"unknown fields {_quote(self.unknown_fields)} not read")
        return f"{self.path}: {', '.join(parts)}"

    def log(self) -> None:
        """Log a warning for what was left out and for what may have been meant otherwise, each once."""
        warnings = []
        if self.skipped:
            first = "; ".join(self.first_skipped)
            warnings.append(f"{count(self.skipped, 'broken record')} of {self.path} left out; first: {first}")
        if self.unknown_fields:
            warnings.append(f"{self.path}: unknown fields {_quote(self.unknown_fields)} are not read")
        if self._joined_aliases:
            shown = " ".join(self._joined_aliases)[:60]
            warnings.append(
                f"{self.path}: aliases such as {shown!r} are read as one name; if they are several, name their "
                "separator (--alias-separator)"
            )
        for warning in warnings:
            if warning not in self._logged:
                self._logged.add(warning)
                logger.warning("%s", warning)


def count(number: int, noun: str, plural: str | None = None) -> str:
    """A number with its noun: ``1 text``, ``2 texts``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def _quote(fields: Iterable[str]) -> str:
    return ", ".join(repr(field[:40]) for field in fields)
