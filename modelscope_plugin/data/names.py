"""Names of entities, in the form in which they are compared."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable
from functools import cache

from modelscope_plugin.data.records import Entity

_HAN = ((0x3400, 0x4DC0), (0x4E00, 0xA000), (0xF900, 0xFB00))
# Punctuation that tells names apart: C and C#, AT T and AT&T.
_MEANT = frozenset("#%&@*")
_DROPPED = frozenset("PZC")  # punctuation, separators, control and format characters


def normalized_name(name: str) -> str:
    """A name without differences of width, case, traditional and simplified characters, white space and punctuation.

    ``#``, ``%``, ``&``, ``@`` and ``*`` stay, and so does the punctuation of a name that consists of nothing else.
    Normalising the result again changes nothing.
    """
    # A second round, because folding the case can bring back what NFKC had taken apart.
    for _ in range(2):
        name = unicodedata.normalize("NFKC", name).casefold()
    name = unicodedata.normalize("NFKC", name)
    # What stood apart, an accent from its letter for one, can belong together once what was between is gone.
    return unicodedata.normalize("NFKC", name.translate(_bare())) or "".join(name.split())


class _Bare(dict[int, "str | None"]):
    """What becomes of each character, by code point; filled as characters are met."""

    def __init__(self, simplified: dict[int, str]) -> None:
        super().__init__(simplified)

    def __missing__(self, code: int) -> str | None:
        character = chr(code)
        drop = unicodedata.category(character)[0] in _DROPPED and character not in _MEANT
        self[code] = None if drop else character
        return self[code]


@cache
def _bare() -> _Bare:
    import opencc

    characters = [chr(code) for start, end in _HAN for code in range(start, end)]
    # One character a line: whole words would be converted by their context, which a lookup has not.
    lines = opencc.OpenCC("t2s").convert("\n".join(characters)).split("\n")
    simplified = {old: new for old, new in zip(characters, lines, strict=True) if old != new and len(new) == 1}
    # A few simplified forms have a simplified form themselves.
    return _Bare({ord(old): simplified.get(new, new) for old, new in simplified.items()})


def names_of(entity: Entity) -> set[str]:
    """The normalised name and aliases of an entity, without empty ones."""
    return {normalized_name(name) for name in entity.names} - {""}


def shared_names(entities: Iterable[Entity]) -> set[str]:
    """The normalised names that several entities have."""
    count = Counter(name for entity in entities for name in names_of(entity))
    return {name for name, times in count.items() if times > 1}
