"""Names of entities, in the form in which they are compared."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable

from modelscope_plugin.data.records import Entity


def normalized_name(name: str) -> str:
    """A name without differences of width, case and white space."""
    return "".join(unicodedata.normalize("NFKC", name).casefold().split())


def names_of(entity: Entity) -> set[str]:
    """The normalised name and aliases of an entity, without empty ones."""
    return {normalized_name(name) for name in (entity.name, *entity.aliases)} - {""}


def shared_names(entities: Iterable[Entity]) -> set[str]:
    """The normalised names that several entities have."""
    count = Counter(name for entity in entities for name in names_of(entity))
    return {name for name, times in count.items() if times > 1}
