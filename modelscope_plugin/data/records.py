"""Entities, mentions and texts with mentions, as plain typed records."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from modelscope_plugin.checks import check_integer
from modelscope_plugin.errors import InputError, InputTypeError


@dataclass(frozen=True, slots=True)
class Entity:
    """One entry of a knowledge base.

    Attributes:
        id: The identity of the entity. Names are not unique, ids are.
        name: The name it is shown under.
        aliases: Other names.
        types: Its types, such as ``Person`` or ``Work``.
        description: Running text about it.
        facts: (predicate, object) pairs.

    Raises:
        InputTypeError: If id, name or description is not a string, or aliases or types are one string.
    """

    id: str
    name: str
    aliases: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    description: str = ""
    facts: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        for key in ("id", "name", "description"):
            if not isinstance(getattr(self, key), str):
                raise InputTypeError(f"entity {key}={getattr(self, key)!r} must be a string")
        for key in ("aliases", "types"):
            if isinstance(getattr(self, key), str):
                raise InputTypeError(f"entity {key}={getattr(self, key)!r} must be a tuple of strings, not one string")

    @property
    def names(self) -> tuple[str, ...]:
        """Its name and its other names, as they are written."""
        return (self.name, *self.aliases)

    def to_record(self) -> dict[str, Any]:
        """The entity as a JSON object in this package's own form, without empty fields."""
        return {key: value for key, value in asdict(self).items() if value or key in ("id", "name")}


@dataclass(frozen=True, slots=True)
class Mention:
    """A span of a text that names an entity.

    Attributes:
        text: The whole text, without markers.
        start: Offset of the first character of the span.
        end: Offset just behind its last character.
        entity_ids: The gold entities, where they are known; there can be several.
        nil: The label where the knowledge base lacks the entity (``NIL``, ``NIL_Person``, ...), else None.
        text_id: Id of the text, where it has one.
        negatives: Hard negatives for training: ids of entities that look right and are not.

    Raises:
        InputTypeError: If the text is not a string or an offset not an integer.
        InputError: If the offsets lie outside the text or the span holds nothing but white space.
    """

    text: str
    start: int
    end: int
    entity_ids: tuple[str, ...] = ()
    nil: str | None = None
    text_id: str = ""
    negatives: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.text, str):
            raise InputTypeError(f"the text of a mention must be a string, not {type(self.text).__name__}")
        for name, value in (("start", self.start), ("end", self.end)):
            object.__setattr__(self, name, check_integer(f"mention {name}", value))
        if not 0 <= self.start <= self.end <= len(self.text):
            raise InputError(
                f"mention offsets {self.start}:{self.end} lie outside the text of {len(self.text)} characters "
                f"{excerpt(self.text)}; start is the first character of the mention, end the one behind its last"
            )
        if not self.text[self.start : self.end].strip():
            raise InputError(f"empty mention at {self.start}:{self.end} of {excerpt(self.text)}; a mention needs text")

    @property
    def surface(self) -> str:
        """The characters of the span."""
        return self.text[self.start : self.end]


@dataclass(frozen=True, slots=True)
class Document:
    """A text with all its mentions, one record of a file.

    Attributes:
        text: The whole text, without markers.
        mentions: Its mentions, in file order; their ``text`` is this text.
        text_id: Id of the text, where it has one.
        has_no_mentions: True if the text is known to have no mention, so that no detector is asked.
    """

    text: str
    mentions: tuple[Mention, ...]
    text_id: str = ""
    has_no_mentions: bool = False


def excerpt(text: str, length: int = 24) -> str:
    """The beginning of a text, quoted, for an error message."""
    return repr(text if len(text) <= length else text[:length] + "…")
