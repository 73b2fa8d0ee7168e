"""Entity records on disk, read one at a time when they are asked for."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from modelscope_plugin.data.records import Entity
from modelscope_plugin.errors import IndexFolderError

_RECORDS = "entities.jsonl"
_OFFSETS = "offsets.npy"
_IDS = "ids.json"

ENTITY_FILES = (_RECORDS, _OFFSETS, _IDS)
"""The files of a knowledge base in its folder."""


class EntityRecords:
    """The entity records of a folder by row; only the ids are in memory.

    Args:
        folder: Folder written by `write_entities`.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / _RECORDS
        self.ids: list[str] = json.loads((folder / _IDS).read_text(encoding="utf-8"))
        self._offsets: npt.NDArray[np.int64] = np.load(folder / _OFFSETS, mmap_mode="r")
        self._records = np.memmap(folder / _RECORDS, dtype=np.uint8, mode="r") if self.ids else np.empty(0, np.uint8)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, row: int) -> Entity:
        start, end = int(self._offsets[row]), int(self._offsets[row + 1])
        try:
            record = json.loads(self._records[start:end].tobytes().decode("utf-8", "surrogatepass"))
            return Entity(
                record["id"],
                record["name"],
                tuple(record.get("aliases", ())),
                tuple(record.get("types", ())),
                record.get("description", ""),
                tuple((predicate, value) for predicate, value in record.get("facts", ())),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise IndexFolderError(
                f"{self._path} is damaged in record {row} ({error}); build the index again"
            ) from None


def write_entities(folder: Path, entities: Iterable[Entity]) -> tuple[str, ...]:
    """Write entities into a folder as JSON lines, with their offsets and ids beside them; the names of the files."""
    ids, offsets = [], [0]
    with open(folder / _RECORDS, "wb") as stream:
        for entity in entities:
            line = json.dumps(entity.to_record(), ensure_ascii=False, separators=(",", ":"))
            offsets.append(offsets[-1] + stream.write(line.encode("utf-8", "surrogatepass") + b"\n"))
            ids.append(entity.id)
    np.save(folder / _OFFSETS, np.array(offsets, dtype=np.int64))
    (folder / _IDS).write_text(json.dumps(ids), encoding="utf-8")
    return ENTITY_FILES
