"""Entity records on disk, read one at a time when they are asked for."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import numpy as np

from modelscope_plugin.data.records import Entity
from modelscope_plugin.errors import IndexFolderError
from modelscope_plugin.retrieval.arrays import map_array, save_array

_RECORDS = "entities.jsonl"
_OFFSETS = "offsets.npy"
_IDS = "ids.json"

ENTITY_FILES = (_RECORDS, _OFFSETS, _IDS)
"""The files of a knowledge base in its folder."""


class EntityRecords:
    """The entity records of a folder by row; only the ids are in memory.

    Args:
        folder: Folder written by `write_entities`.

    Raises:
        ValueError: If a file is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / _RECORDS
        self.ids = _read_ids(folder / _IDS)
        size = self._path.stat().st_size
        self._offsets = map_array(folder / _OFFSETS, "int64", (len(self.ids) + 1,), least=0, most=size, step=1)
        if self._offsets[0] != 0 or self._offsets[-1] != size:
            raise ValueError(f"{_OFFSETS} does not span {_RECORDS}")
        self._records = np.memmap(self._path, dtype=np.uint8, mode="r") if size else np.empty(0, np.uint8)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, row: int) -> Entity:
        start, end = int(self._offsets[row]), int(self._offsets[row + 1])
        try:
            entity = _parse_entity(self._records[start:end].tobytes())
            if entity.id != self.ids[row]:
                raise ValueError(f"its id is not {self.ids[row]!r}")
            return entity
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise IndexFolderError(
                f"{self._path} is damaged in record {row} ({error}); build the index again"
            ) from None


def _read_ids(path: Path) -> list[str]:
    try:
        ids = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path.name} cannot be read: {error}") from None
    if not isinstance(ids, list) or not all(isinstance(one, str) and one for one in ids) or len(set(ids)) < len(ids):
        raise ValueError(f"{path.name} is not a list of distinct ids")
    return ids


def _parse_entity(line: bytes) -> Entity:
    record = json.loads(line.decode("utf-8", "surrogatepass"))
    facts = tuple((predicate, value) for predicate, value in record.get("facts", ()))
    entity = Entity(
        record["id"],
        record["name"],
        tuple(record.get("aliases", ())),
        tuple(record.get("types", ())),
        record.get("description", ""),
        facts,
    )
    if not all(isinstance(text, str) for text in (*entity.aliases, *entity.types, *chain.from_iterable(facts))):
        raise TypeError("an alias, type or fact is not a text")
    return entity


def write_entities(folder: Path, entities: Iterable[Entity]) -> tuple[str, ...]:
    """Write entities into a folder as JSON lines, with their offsets and ids beside them; the names of the files."""
    ids, offsets = [], [0]
    with open(folder / _RECORDS, "wb") as stream:
        for entity in entities:
            line = json.dumps(entity.to_record(), ensure_ascii=False, separators=(",", ":"))
            offsets.append(offsets[-1] + stream.write(line.encode("utf-8", "surrogatepass") + b"\n"))
            ids.append(entity.id)
    save_array(folder / _OFFSETS, np.array(offsets, dtype=np.int64))
    (folder / _IDS).write_text(json.dumps(ids), encoding="utf-8")
    return ENTITY_FILES
