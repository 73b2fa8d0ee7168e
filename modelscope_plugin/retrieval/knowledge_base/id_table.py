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
        self._rows: dict[str, int] | None = None
        self._successor: tuple[list[str], list[str], IdTable] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, entity_id: object) -> bool:
        return entity_id in self._row_by_id

    def row(self, entity_id: str) -> int:
        """The row of an id; a KeyError where there is none."""
        return self._row_by_id[entity_id]

    def rows(self, ids: Collection[str]) -> RowIds:
        """The rows of some ids, int64 (n,)."""
        return np.fromiter(map(self._row_by_id.__getitem__, ids), np.int64, len(ids))

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
            if self._rows is not None and not removed:  # copying a dictionary is faster than building it
                table._rows = self._rows | {one: row for row, one in enumerate(added, len(kept))}
            self._successor = (*change, table)
        return self._successor[2]

    @property
    def _row_by_id(self) -> dict[str, int]:
        if self._rows is None:
            self._rows = {one: row for row, one in enumerate(self.ids)}
        return self._rows
