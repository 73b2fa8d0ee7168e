"""The ids of entities by row, and the row of each id."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import numpy as np

from modelscope_plugin.types import RowIds


class IdTable:
    """The ids of entities by row, and the row of each id.

    A table never changes, so that a knowledge base and a vector store can share one: it may be large.

    Args:
        ids: Distinct ids.
    """

    def __init__(self, ids: Iterable[str] = ()) -> None:
        self.ids = list(ids)
        # At first only those that were looked at: making a dictionary of a million ids takes most of a second.
        self._rows: dict[str, int] = {}
        self._has_all_rows = False
        self._successor: tuple[list[str], list[str], IdTable] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, entity_id: object) -> bool:
        return entity_id in self._rows or entity_id in self._all_rows()

    def ids_at(self, rows: Sequence[int]) -> list[str]:
        """The ids of some rows."""
        found = list(map(self.ids.__getitem__, rows))
        if not self._has_all_rows:
            self._rows.update(zip(found, rows, strict=True))
        return found

    def row(self, entity_id: str) -> int:
        """The row of an id; a KeyError where there is none."""
        row = self._rows.get(entity_id)
        return self._all_rows()[entity_id] if row is None else row

    def rows(self, ids: Collection[str]) -> RowIds:
        """The rows of some ids, int64 (n,)."""
        try:
            return np.fromiter(map(self._rows.__getitem__, ids), np.int64, len(ids))
        except KeyError:
            return np.fromiter(map(self._all_rows().__getitem__, ids), np.int64, len(ids))

    def replace(self, removed: Sequence[str], added: Sequence[str]) -> IdTable:
        """The table without some ids and with others behind the rest.

        Two owners of one table who make the same change one after the other get one and the same table again.
        """
        change = list(removed), list(added)
        if self._successor is None or self._successor[:2] != change:
            kept = self.ids
            if removed:
                gone = set(removed)
                kept = [one for one in kept if one not in gone]
            table = IdTable([*kept, *added])
            if not removed:  # copying a dictionary is faster than making it
                table._rows = self._all_rows() | {one: row for row, one in enumerate(added, len(kept))}
                table._has_all_rows = True
            self._successor = (*change, table)
        return self._successor[2]

    def _all_rows(self) -> dict[str, int]:
        if not self._has_all_rows:
            self._rows, self._has_all_rows = {one: row for row, one in enumerate(self.ids)}, True
        return self._rows
