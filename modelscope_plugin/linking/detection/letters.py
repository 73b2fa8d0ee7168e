"""A text as the normalised letters that names are compared by, with the place of each and what stands between them."""

from __future__ import annotations

import unicodedata
from bisect import bisect_left, bisect_right
from functools import lru_cache

from modelscope_plugin.data.names import normalized_name

# What stands inside names: hyphens, apostrophes, the dots of foreign names.
_JOINING = frozenset("-‐‑'’·•・‧")
# Marks of one letter at most; more are no writing, and putting them in order costs their number squared.
_MOST_MARKS = 32
# Vowels and finals of Hangul, which grow together with what stands before them and are no marks.
_HANGUL_PARTS = ("\u1160", "\u11ff")

_LETTER, _MARK, _DROPPED = range(3)


class Letters:
    """The letters of a text as `modelscope_plugin.data.names.normalized_name` leaves them.

    A unit is a character of the text with the marks behind it, which are normalised together; it can become several
    letters. All numbers below are places of letters unless they are said to be of the text.

    Args:
        text: The text.

    Attributes:
        text: The letters.
    """

    def __init__(self, text: str) -> None:
        letters: list[str] = []
        starts: list[int] = []
        ends: dict[int, int] = {}
        gaps: dict[int, str] = {}
        gap: list[str] = []
        marks = 0

        def close() -> None:
            """Normalise the last unit together with its marks."""
            unit, end = starts[-1], ends[starts[-1]]
            first = bisect_left(starts, unit)
            del letters[first:], starts[first:]
            letters.extend(normalized_name(text[unit:end]))
            starts.extend([unit] * (len(letters) - len(starts)))

        for place, character in enumerate(text):
            kind, kept = _KINDS[character]
            if kind == _DROPPED:
                gap.append(character)
                continue
            if kind == _MARK and starts and marks < _MOST_MARKS:
                ends[starts[-1]] = place + 1
                gap.clear()
                marks += 1
                continue
            if marks:
                close()
                marks = 0
            if gap:
                gaps[len(letters)] = "".join(gap)
                gap.clear()
            letters += kept
            starts += [place] * len(kept)
        if marks:
            close()
        self.text = "".join(letters)
        self._starts = starts
        self._ends = ends
        # Only what is seen; an invisible character parts nothing, not even two words.
        self._gaps = {place: sign for place, gap in gaps.items() if (sign := self._sign(place, gap)) is not None}
        self._parting = [place for place, sign in self._gaps.items() if sign]

    def _sign(self, place: int, gap: str) -> str | None:
        """What a gap before a letter is: empty where it joins, else the signs that part; None where nothing is seen."""
        seen = "".join(one for one in gap if unicodedata.category(one) != "Cf")
        if not seen:
            return None
        if len(seen) == 1 and seen in _JOINING:
            return ""
        if seen.isspace() and 0 < place < len(self.text):
            words = self._ends_word(place) + _of_word(self.text[place])
            breaks = len(f"{seen}.".splitlines()) - 1
            # Latin words stand apart, also from Chinese ones; a line ends between two of them only.
            if words and breaks < words:
                return ""
        signs = unicodedata.normalize("NFKC", seen)
        return "".join(one for one in signs if not one.isspace() and one not in _JOINING) or " "

    def _ends_word(self, place: int) -> bool:
        """Whether the letter before a place, marks aside, belongs to a word that is written with spaces around it."""
        while place and unicodedata.category(self.text[place - 1])[0] == "M":
            place -= 1
        return place > 0 and _of_word(self.text[place - 1])

    def is_border(self, place: int) -> bool:
        """Whether a name can begin or end at a place: not within a unit, nor within a word."""
        if not 0 < place < len(self.text):
            return True
        if self._starts[place - 1] == self._starts[place]:
            return False
        return place in self._gaps or not (_of_word(self.text[place]) and self._ends_word(place))

    def parted(self, start: int, end: int) -> list[tuple[int, str]]:
        """Where signs that do not belong into every name stand between some letters: their place from the first one."""
        inside = self._parting[bisect_right(self._parting, start) : bisect_left(self._parting, end)]
        return [(place - start, self._gaps[place]) for place in inside]

    def span(self, start: int, end: int) -> tuple[int, int]:
        """The span of the text that some letters come from."""
        last = self._starts[end - 1]
        return self._starts[start], self._ends.get(last, last + 1)


class _Kinds(dict[str, tuple[int, str]]):
    """Of each character what it is in a name and what becomes of it; filled as characters are met."""

    def __missing__(self, character: str) -> tuple[int, str]:
        # Behind a digit, with which nothing grows together and which keeps punctuation from standing alone.
        kept = normalized_name(f"0{character}")[1:]
        kind = _LETTER if kept else _DROPPED
        # The iota subscript is a mark, although folding its case makes it a letter.
        if kept and (_grows_on(character) or _grows_on(kept[0])):
            kind = _MARK
        self[character] = kind, kept
        return self[character]


_KINDS = _Kinds()


def _grows_on(character: str) -> bool:
    """Whether a character can grow together with what stands before it."""
    first = unicodedata.normalize("NFKD", character)[0]
    return unicodedata.category(first)[0] == "M" or _HANGUL_PARTS[0] <= first <= _HANGUL_PARTS[1]


@lru_cache(maxsize=1 << 14)
def _of_word(letter: str) -> bool:
    """Whether a normalised letter is of a script that writes words apart, or a digit; Han, Kana and Hangul are wide."""
    return letter.isalnum() and unicodedata.east_asian_width(letter) != "W"
