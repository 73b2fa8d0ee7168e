"""The text of an entity, in the form that the ModelScope checkpoint was trained on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

from modelscope_plugin.data.records import Entity

MAX_CHARACTERS = 2048
"""Characters of an entity text at most; a window of 512 tokens holds fewer characters of Chinese."""


def entity_text(entity: Entity, max_characters: int = MAX_CHARACTERS) -> str:
    """Write an entity as one text, ``董成鹏； 类型： Person； 别名： Da Peng， 大鹏; 中国内地演员……``.

    The form is that of the ModelScope model card; behind it come the description and the facts. What
    does not fit is left out: first facts, then description, so that the text stays bounded whatever
    the knowledge base holds (a million aliases, a description of a megabyte).

    Args:
        entity: The entity.
        max_characters: Length at which the text is cut.

    Returns:
        The text, at most ``max_characters`` long.
    """
    head = [entity.name.strip()]
    types = _join(entity.types, (), max_characters)
    if types:
        head.append(f"类型： {types}")
    aliases = _join(entity.aliases, (entity.name,), max_characters)
    if aliases:
        head.append(f"别名： {aliases}")
    text = "； ".join(part for part in head if part) + ";"
    for part in chain([entity.description], (f"{predicate}： {value}" for predicate, value in entity.facts)):
        if len(text) >= max_characters:
            break
        part = part[:max_characters].strip()
        if part:
            text = f"{text} {part}" if text.endswith(";") else f"{text}； {part}"
    return text[:max_characters]


def _join(values: Iterable[str], without: Iterable[str], max_characters: int) -> str:
    """The distinct values joined as the card joins them, no more of them than can be seen."""
    return "， ".join(_distinct(values, without, max_characters))


def _distinct(values: Iterable[str], without: Iterable[str], max_characters: int) -> Iterator[str]:
    seen = {value.strip() for value in without}
    length = 0
    for value in values:
        value = value.strip()
        if value and value not in seen:
            seen.add(value)
            yield value
            length += len(value)
            if length >= max_characters:
                return
