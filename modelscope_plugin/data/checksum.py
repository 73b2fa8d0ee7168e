"""A digest of the data that a run was made with."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import TypeVar

from modelscope_plugin.data.records import Entity, Mention

_Record = TypeVar("_Record", Entity, Mention)


class Checksum:
    """A digest of records, the same for every file format they can be read from.

    Attributes:
        count: How many records have passed.
    """

    def __init__(self) -> None:
        self.count = 0
        self._digest = hashlib.blake2b(digest_size=16)

    def over(self, records: Iterable[_Record]) -> Iterator[_Record]:
        """Yield the records unchanged and add them to the digest."""
        for record in records:
            self.count += 1
            self._digest.update(repr(record).encode("utf-8", "surrogatepass"))
            yield record

    def to_record(self) -> dict[str, int | str]:
        """Count and digest as a JSON object."""
        return {"count": self.count, "checksum": self._digest.hexdigest()}
