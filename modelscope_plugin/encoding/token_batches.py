"""Batches of texts of about one length, and the texts that occurred before and need not be encoded again."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator, Sequence

import numpy as np

from modelscope_plugin.types import RowIds

# A batch that is this much of the budget is fast enough, and ends where a shorter text would be padded to it.
_ENOUGH = 0.25
_SHORTER = 0.9


def make_batches(lengths: Sequence[int], budget: int, size: int | None = None) -> Iterator[list[int]]:
    """Put texts of about one length into one batch, the longest first.

    Args:
        lengths: Tokens of each text.
        budget: Tokens of a batch, padding counted; a text that is longer makes a batch of its own.
        size: Texts of a batch, instead of the budget.

    Yields:
        The positions in ``lengths`` of the texts of a batch, longest first; every position is in one batch.
    """
    batch: list[int] = []
    longest = 0
    for position in sorted(range(len(lengths)), key=lambda position: -lengths[position]):
        if size:
            full = len(batch) == size
        else:
            enough = len(batch) * longest >= _ENOUGH * budget and lengths[position] < _SHORTER * longest
            full = enough or (len(batch) + 1) * longest > budget
        if batch and full:
            yield batch
            batch = []
        if not batch:
            longest = lengths[position]
        batch.append(position)
    if batch:
        yield batch


class FirstRows:
    """Finds the row at which a sequence of tokens occurred first, so that it is encoded once.

    It remembers 16 bytes of a sequence whatever its length: a list of a million texts takes some 150 MB.
    """

    def __init__(self) -> None:
        self._rows: dict[bytes, int] = {}

    def look_up(self, sequences: Sequence[Sequence[int]], start: int) -> RowIds:
        """Look sequences up, and remember the new ones.

        Args:
            sequences: Token ids.
            start: The row of the first of them; each following one has the next.

        Returns:
            For each sequence the row at which the same tokens occurred first, int64; its own where they are new.
        """
        rows = (self._rows.setdefault(_digest(ids), row) for row, ids in enumerate(sequences, start))
        return np.fromiter(rows, dtype=np.int64, count=len(sequences))


def _digest(ids: Sequence[int]) -> bytes:
    return hashlib.blake2b(array("q", ids).tobytes(), digest_size=16).digest()
