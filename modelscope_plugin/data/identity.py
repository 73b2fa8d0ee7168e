"""Checks that entity ids are unique."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from modelscope_plugin.data.records import Entity
from modelscope_plugin.errors import InputError


def check_unique_ids(entities: Iterable[Entity]) -> Iterator[Entity]:
    """Yield the entities unchanged; raise InputError at one whose id is empty or occurred before.

    `read_entities` checks files itself; this is for entities from elsewhere.
    """
    seen: set[str] = set()
    for entity in entities:
        if entity.id in seen or not entity.id.strip():
            what = f"id {entity.id!r} stands twice" if entity.id in seen else "there is an empty id"
            raise InputError(f"{what} among the entities; ids must be unique and not empty")
        seen.add(entity.id)
        yield entity
