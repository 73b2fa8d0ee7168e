"""Ids are the identity of entities."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from modelscope_plugin.data.records import Entity
from modelscope_plugin.errors import InputError


def unique_ids(entities: Iterable[Entity]) -> Iterator[Entity]:
    """Let entities through; InputError at one whose id is empty or stood before.

    Files have been checked when they were read; entities from elsewhere have not.
    """
    seen: set[str] = set()
    for entity in entities:
        if entity.id in seen or not entity.id.strip():
            what = f"id {entity.id!r} stands twice" if entity.id in seen else "there is an empty id"
            raise InputError(f"{what} among the entities; ids must be unique and not empty")
        seen.add(entity.id)
        yield entity
