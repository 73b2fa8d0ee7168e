"""The entities of a knowledge base by row and by id."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

from modelscope_plugin.data.identity import check_unique_ids
from modelscope_plugin.data.records import Entity
from modelscope_plugin.errors import InputError
from modelscope_plugin.retrieval.knowledge_base.entity_records import EntityRecords, write_entities
from modelscope_plugin.retrieval.knowledge_base.id_table import IdTable
from modelscope_plugin.types import RowIds


class KnowledgeBase:
    """The entities of a knowledge base by row and by id.

    Rows count from 0 in the order in which entities were added; those behind a removed one move up.

    Args:
        entities: The entities.

    Attributes:
        id_table: The ids by row, and the row of each id.

    Raises:
        InputError: If an id is empty or stands twice.
    """

    def __init__(self, entities: Iterable[Entity] = ()) -> None:
        self.id_table = IdTable()
        self._files: EntityRecords | tuple[Entity, ...] = ()
        # Of each row the entity, or where its record stands in the files.
        self._entities: Sequence[Entity | int] = []
        self.add(list(entities))

    def __len__(self) -> int:
        return len(self._entities)

    def __getitem__(self, row: int) -> Entity:
        """The entity of a row."""
        entity = self._entities[row]
        return entity if isinstance(entity, Entity) else self._files[entity]

    def __iter__(self) -> Iterator[Entity]:
        return (self[row] for row in range(len(self)))

    def __contains__(self, entity_id: object) -> bool:
        return entity_id in self.id_table

    @property
    def ids(self) -> list[str]:
        """The ids by row."""
        return self.id_table.ids

    def get(self, entity_id: str) -> Entity | None:
        """The entity of an id; None where there is none."""
        return self[self.row_of(entity_id)] if entity_id in self else None

    def row_of(self, entity_id: str) -> int:
        """The row of an id; a KeyError where there is none."""
        return self.id_table.row(entity_id)

    def rows_of(self, ids: Collection[str]) -> RowIds:
        """The rows of some ids, int64 (n,)."""
        return self.id_table.rows(ids)

    def names(self) -> Iterator[tuple[str, int]]:
        """The name and the aliases of every entity as they are written, each with the row of the entity."""
        return ((name, row) for row, entity in enumerate(self) for name in entity.names)

    def add(self, entities: Sequence[Entity]) -> None:
        """Add entities; those of an id that is already there are replaced.

        Raises:
            InputError: If an id is empty or stands twice.
        """
        new = [entity.id for entity in check_unique_ids(entities)]
        self._replace([one for one in new if one in self], new, entities)

    def remove(self, ids: Iterable[str]) -> None:
        """Remove entities.

        Raises:
            InputError: If an id is not there; nothing is removed then.
        """
        self._replace(self.check_ids(ids), [], [])

    def check_ids(self, ids: Iterable[str]) -> list[str]:
        """Return ids that are in the knowledge base, each once.

        Raises:
            InputError: If one is not there.
        """
        distinct = list(dict.fromkeys(ids))
        missing = [one for one in distinct if one not in self]
        if missing:
            raise InputError(
                f"no entity {missing[0]!r} in the index ({len(missing)} of {len(distinct)} ids are not there)"
            )
        return distinct

    def _replace(self, removed: Sequence[str], added: Sequence[str], entities: Sequence[Entity]) -> None:
        gone = set(self.rows_of(removed).tolist())
        kept = [entity for row, entity in enumerate(self._entities) if row not in gone] if gone else self._entities
        self._entities = [*kept, *entities]
        self.id_table = self.id_table.replace(removed, added)

    def save(self, folder: Path) -> tuple[str, ...]:
        """Write the entities into a folder; the names of the files."""
        return write_entities(folder, self)

    @classmethod
    def open(cls, folder: Path) -> KnowledgeBase:
        """Open the files that `save` wrote; the entities stay on disk, memory-mapped.

        Raises:
            ValueError: If a file is damaged.
        """
        opened = cls()
        records = EntityRecords(folder)
        opened._files, opened._entities, opened.id_table = records, range(len(records)), IdTable(records.ids)
        return opened
