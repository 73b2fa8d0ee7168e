"""The entities of an index by row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from modelscope_plugin.data.records import Entity
from modelscope_plugin.retrieval.knowledge_base.entity_store import StoredEntities
from modelscope_plugin.types import RowIds


class EntityRows:
    """The entities of an index by row: some still on disk, some added since.

    Args:
        stored: Those on disk.
    """

    def __init__(self, stored: StoredEntities | None = None) -> None:
        self._stored = stored
        self._places: list[Any] = [] if stored is None else list(range(len(stored)))
        self.ids: list[str] = [] if stored is None else list(stored.ids)
        self._rows: dict[str, int] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, row: int) -> Entity:
        """The entity of a row."""
        place = self._places[row]
        if isinstance(place, Entity):
            return place
        assert self._stored is not None
        return self._stored[place]

    @property
    def rows(self) -> dict[str, int]:
        """Row by id."""
        if self._rows is None:
            self._rows = {one: row for row, one in enumerate(self.ids)}
        return self._rows

    def extend(self, entities: Sequence[Entity]) -> None:
        """Append entities, of ids that are not there."""
        rows = self.rows
        rows.update((entity.id, row) for row, entity in enumerate(entities, len(self)))
        self._places += entities
        self.ids += [entity.id for entity in entities]

    def delete(self, rows: RowIds) -> None:
        """Take rows out; those behind them move up."""
        gone = set(rows.tolist())
        self._places = [place for row, place in enumerate(self._places) if row not in gone]
        self.ids = [one for row, one in enumerate(self.ids) if row not in gone]
        self._rows = None
