"""Which rows of vectors are the views of which entity, and what of the entity each of them shows."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import numpy.typing as npt

from modelscope_plugin.data.records import Entity
from modelscope_plugin.data.views import ViewSettings, entity_parts, view_text
from modelscope_plugin.errors import InputError
from modelscope_plugin.types import RowIds

_TABLE, _SETTINGS = "views.npy", "views.json"

VIEW_FILES = (_TABLE, _SETTINGS)
"""The files of an index whose entities have several vectors."""

Views = npt.NDArray[np.int32]
"""A row for each view: place of its entity, and its span of parts (`modelscope_plugin.data.views.WHOLE` for the whole),
shape (views, 3), the views of an entity together and the entities in order."""


class ViewTable:
    """The views of the entities of an index, by row of their vectors.

    Args:
        settings: How they are made.
        views: The views; every entity from 0 on has at least one.
    """

    def __init__(self, settings: ViewSettings, views: Views | None = None) -> None:
        self.settings = settings
        self._views = np.empty((0, 3), dtype=np.int32) if views is None else views
        self._starts: RowIds | None = None

    def __len__(self) -> int:
        return len(self._views)

    @property
    def owners(self) -> npt.NDArray[np.int32]:
        """The row of the entity of each view."""
        return self._views[:, 0]

    @property
    def entities(self) -> int:
        """How many entities there are."""
        return int(self._views[-1, 0]) + 1 if len(self) else 0

    @property
    def bytes_per_view(self) -> int:
        """What a view takes beside its vector."""
        return int(self._views.itemsize) * 3

    @property
    def starts(self) -> RowIds:
        """The row of the first view of each entity, and behind them the number of views."""
        if self._starts is None:
            self._starts = np.searchsorted(self.owners, np.arange(self.entities + 1)).astype(np.int64)
        return self._starts

    def rows(self, entity: int) -> range:
        """The rows of the views of an entity."""
        return range(int(self.starts[entity]), int(self.starts[entity + 1]))

    def rows_of(self, entities: RowIds) -> tuple[RowIds, RowIds]:
        """The rows of the views of some entities one after another, and the place among them where each begins."""
        first = self.starts[entities]
        counts = self.starts[entities + 1] - first
        begins = np.cumsum(counts) - counts
        return np.repeat(first - begins, counts) + np.arange(counts.sum()), begins

    def add(self, views: Views) -> None:
        """Append views, whose entities are counted from 0, as those of new entities."""
        added = np.asarray(views, dtype=np.int32) + np.array([self.entities, 0, 0], dtype=np.int32)
        self._views, self._starts = np.concatenate([self._views, added]), None

    def remove(self, entities: RowIds) -> RowIds:
        """Take entities out; those behind them move up.

        Returns:
            The rows of their views.
        """
        gone = np.isin(self.owners, entities)
        kept = np.array(self._views[~gone])
        kept[:, 0] -= np.searchsorted(entities, kept[:, 0]).astype(np.int32)
        self._views, self._starts = kept, None
        return np.flatnonzero(gone)

    def text(self, entity: Entity, row: int) -> str:
        """The text of a view of an entity."""
        _, start, end = self._views[row].tolist()
        return view_text(entity, entity_parts(entity, self.settings.max_views).texts, (start, end))

    def save(self, folder: Path) -> tuple[str, ...]:
        """Write the views into a folder; the names of the files."""
        np.save(folder / _TABLE, self._views)
        (folder / _SETTINGS).write_text(json.dumps(asdict(self.settings)) + "\n", encoding="utf-8")
        return VIEW_FILES

    @classmethod
    def load(cls, folder: Path) -> ViewTable:
        """Read what `save` wrote.

        Raises:
            ValueError: If it is no table of views.
        """
        settings = ViewSettings(**json.loads((folder / _SETTINGS).read_text(encoding="utf-8")))
        views = np.load(folder / _TABLE)
        if views.dtype != np.int32 or views.ndim != 2 or views.shape[1] != 3:
            raise ValueError(f"{_TABLE} holds no views")
        check_views(views, int(views[-1, 0]) + 1 if len(views) else 0)
        return cls(settings, views)


def check_views(views: Views, entities: int) -> None:
    """Raise `InputError` unless every entity has views, together and in order."""
    owners = views[:, 0]
    steps = np.diff(owners, prepend=-1, append=entities)
    first, rest, last = steps[:1], steps[1:-1], steps[-1:]
    if (first != 1).any() or (last != 1).any() or not np.isin(rest, (0, 1)).all():
        raise InputError(f"the views are not those of {entities} entities in order, each with at least one")
