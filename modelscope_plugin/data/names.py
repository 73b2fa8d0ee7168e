"""Normalisation of names, so that they can be compared."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable
from functools import cache

from modelscope_plugin.data.records import Entity

_HAN = ((0x3400, 0x4DC0), (0x4E00, 0xA000), (0xF900, 0xFB00))
# Punctuation that tells names apart: C and C#, AT T and AT&T.
_KEPT_PUNCTUATION = frozenset("#%&@*")
_DROPPED_CATEGORIES = frozenset("PZC")  # punctuation, separators, control and format characters


def normalized_name(name: str) -> str:
    """Remove differences of width, case, traditional and simplified characters, white space and punctuation.

    ``#``, ``%``, ``&``, ``@`` and ``*`` stay, and so does the punctuation of a name that consists of nothing else.
    Normalising the result again changes nothing.
    """
    # A second round, because folding the case can bring back what NFKC had taken apart.
    for _ in range(2):
        name = unicodedata.normalize("NFKC", name).casefold()
    name = unicodedata.normalize("NFKC", name)
    # Removing what was between two characters can bring together an accent and its letter, for example.
    return unicodedata.normalize("NFKC", name.translate(_character_table())) or "".join(name.split())


class _CharacterTable(dict[int, "str | None"]):
    """Maps each code point to what normalisation makes of it; filled as characters are met."""

    def __init__(self, simplified: dict[int, str]) -> None:
        super().__init__(simplified)

    def __missing__(self, code: int) -> str | None:
        character = chr(code)
        drop = unicodedata.category(character)[0] in _DROPPED_CATEGORIES and character not in _KEPT_PUNCTUATION
        self[code] = None if drop else character
        return self[code]


@cache
def _character_table() -> _CharacterTable:
    import opencc

    characters = [chr(code) for start, end in _HAN for code in range(start, end)]
    # One character a line: whole words would be converted by their context, which a lookup has not.
    lines = opencc.OpenCC("t2s").convert("\n".join(characters)).split("\n")
    simplified = {old: new for old, new in zip(characters, lines, strict=True) if old != new and len(new) == 1}
    # A few simplified forms have a simplified form themselves.
    return _CharacterTable({ord(old): simplified.get(new, new) for old, new in simplified.items()})


def names_of(entity: Entity) -> set[str]:
    """Return the normalised name and aliases of an entity, without empty ones."""
    return {normalized_name(name) for name in entity.names} - {""}


def shared_names(entities: Iterable[Entity]) -> set[str]:
    """Return the normalised names that several entities share."""
    count = Counter(name for entity in entities for name in names_of(entity))
    return {name for name, times in count.items() if times > 1}
