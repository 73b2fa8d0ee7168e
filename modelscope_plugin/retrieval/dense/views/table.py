"""Which view of its entity each vector of an index is."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from modelscope_plugin.data.records import Entity
from modelscope_plugin.data.views import ViewSettings, entity_parts, view_text
from modelscope_plugin.errors import InputError
from modelscope_plugin.retrieval.arrays import map_array, save_array
from modelscope_plugin.types import RowIds

_TABLE, _SETTINGS = "views.npy", "views.json"

VIEW_FILES = (_TABLE, _SETTINGS)
"""The files of an index whose entities have several vectors."""

ViewRows: TypeAlias = npt.NDArray[np.int32]
"""A row for each view: position of its entity, and its span of parts (`modelscope_plugin.data.views.WHOLE` for the
whole), shape (views, 3), the views of an entity together and the entities in order."""


class ViewTable:
    """The views of the entities of an index.

    Where an entity has one vector, that of its whole text, nothing is kept and nothing is written.

    Args:
        settings: How many views an entity has, how they are made, and how their scores become one.
    """

    def __init__(self, settings: ViewSettings | None = None) -> None:
        self.settings = settings or ViewSettings()
        self._views: ViewRows = np.empty((0, 3), dtype=np.int32)

    def __len__(self) -> int:
        """Number of views; 0 where each entity has one vector."""
        return len(self._views)

    @property
    def has_several(self) -> bool:
        """Whether an entity can have more than one view."""
        return self.settings.max_views > 1

    @property
    def bytes_per_view(self) -> int:
        """Bytes that a view takes beside its vector."""
        return int(self._views.itemsize) * 3

    def owners(self, views: ViewRows | None, entities: int, vectors: int) -> list[int]:
        """The position of the entity of each of some new vectors.

        Args:
            views: The views; None where each entity has one vector.
            entities: Number of new entities.
            vectors: Number of new vectors.

        Raises:
            InputError: If there are views where none should be, or none, or they are not those of the entities.
        """
        if (views is not None) != self.has_several:
            raise InputError("views are needed for an index of several vectors per entity, and for no other")
        if views is None:
            positions, kind = list(range(entities)), "entities"
        else:
            positions, kind = views[:, 0].tolist(), "views"
        if len(positions) != vectors:
            raise InputError(f"{len(positions)} {kind} and {vectors} vectors; each needs one")
        if views is not None:
            _check_views(views, entities)
        return positions

    def counts(self, entities: int) -> RowIds:
        """How many views each of so many entities has, int64 (entities,)."""
        if not self.has_several:
            return np.ones(entities, dtype=np.int64)
        return np.bincount(self._views[:, 0], minlength=entities).astype(np.int64)

    def replace(self, removed: RowIds, views: ViewRows | None) -> None:
        """Remove the entities of some rows, those behind them moving up, and append the views of others."""
        if not self.has_several:
            return
        kept, removed = self._views, np.sort(removed)
        if len(removed):
            kept = kept[~np.isin(kept[:, 0], removed)]
            kept[:, 0] -= np.searchsorted(removed, kept[:, 0]).astype(np.int32)
        if views is not None:
            first = kept[-1, 0] + 1 if len(kept) else 0
            kept = np.concatenate([kept, np.asarray(views, dtype=np.int32) + np.array([first, 0, 0], dtype=np.int32)])
        self._views = kept

    def text(self, entity: Entity, row: int, view: int) -> str:
        """The text of a view, by its position among those of its entity.

        Args:
            entity: The entity.
            row: Its row.
            view: The position.
        """
        _, start, end = self._views[np.searchsorted(self._views[:, 0], row) + view].tolist()
        return view_text(entity, entity_parts(entity, self.settings.max_views).texts, (start, end))

    def save(self, folder: Path) -> tuple[str, ...]:
        """Write the views into a folder; the names of the files."""
        if not self.has_several:
            return ()
        save_array(folder / _TABLE, self._views)
        settings = asdict(self.settings)
        if self.settings.view_scores == "max":
            # As it was before there was a choice, so that older versions open the index.
            del settings["view_scores"], settings["temperature"]
        (folder / _SETTINGS).write_text(json.dumps(settings) + "\n", encoding="utf-8")
        return VIEW_FILES

    @classmethod
    def open(cls, folder: Path, entities: int) -> ViewTable:
        """Read what `save` wrote for so many entities.

        Raises:
            ValueError: If a file is damaged, or the views are those of other entities.
        """
        table = cls(ViewSettings(**json.loads((folder / _SETTINGS).read_text(encoding="utf-8"))))
        views = np.array(map_array(folder / _TABLE, "int32", (None, 3), least=0))
        _check_views(views, entities)
        table._views = views
        return table


def _check_views(views: ViewRows, entities: int) -> None:
    """Raise `InputError` unless every entity has views, together and in order."""
    steps = np.diff(views[:, 0], prepend=-1, append=entities)
    first, rest, last = steps[:1], steps[1:-1], steps[-1:]
    if (first != 1).any() or (last != 1).any() or not np.isin(rest, (0, 1)).all():
        raise InputError(f"the views are not those of {entities} entities in order, each with at least one")
