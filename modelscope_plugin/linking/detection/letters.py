"""A text as the normalised letters by which names are compared, with their offsets and the punctuation between."""

from __future__ import annotations

import unicodedata
from bisect import bisect_left, bisect_right
from functools import lru_cache

from modelscope_plugin.data.names import normalized_name

# What stands inside names: hyphens, apostrophes, the dots of foreign names.
_JOINING = frozenset("-‐‑'’·•・‧")
# Marks of one letter at most; no script writes more, and sorting them takes time quadratic in their number.
_MOST_MARKS = 32
# Vowels and finals of Hangul, which compose with the character before them but are not of the category of marks.
_HANGUL_PARTS = ("\u1160", "\u11ff")

_LETTER, _MARK, _DROPPED = range(3)


class Letters:
    """The letters of a text as `modelscope_plugin.data.names.normalized_name` normalises them.

    A unit is a character of the text with the marks behind it, which are normalised together; it can become several
    letters. Positions count letters, unless they are said to be offsets in the text.

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
            """Normalise the last unit anew, together with its marks."""
            unit, end = starts[-1], ends[starts[-1]]
            first = bisect_left(starts, unit)
            del letters[first:], starts[first:]
            letters.extend(normalized_name(text[unit:end]))
            starts.extend([unit] * (len(letters) - len(starts)))

        for offset, character in enumerate(text):
            kind, kept = _KINDS[character]
            if kind == _DROPPED:
                gap.append(character)
                continue
            if kind == _MARK and starts and marks < _MOST_MARKS:
                ends[starts[-1]] = offset + 1
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
            starts += [offset] * len(kept)
        if marks:
            close()
        self.text = "".join(letters)
        self._starts = starts
        self._ends = ends
        # Visible gaps only; an invisible character separates nothing, not even two words.
        signs = {position: self._separator(position, gap) for position, gap in gaps.items()}
        self._separators = {position: separator for position, separator in signs.items() if separator is not None}
        self._separated = [position for position, separator in self._separators.items() if separator]

    def _separator(self, position: int, gap: str) -> str | None:
        """Return the punctuation of a gap before a letter; empty if it joins, None if the gap is invisible."""
        seen = "".join(one for one in gap if unicodedata.category(one) != "Cf")
        if not seen:
            return None
        if len(seen) == 1 and seen in _JOINING:
            return ""
        if seen.isspace() and 0 < position < len(self.text):
            words = self._ends_word(position) + _is_of_word(self.text[position])
            breaks = len(f"{seen}.".splitlines()) - 1
            # Latin words are set off by spaces, also from Chinese; a line break joins two Latin words only.
            if words and breaks < words:
                return ""
        signs = unicodedata.normalize("NFKC", seen)
        return "".join(one for one in signs if not one.isspace() and one not in _JOINING) or " "

    def _ends_word(self, position: int) -> bool:
        """True if the letter before a position, marks aside, belongs to a word that has spaces around it."""
        while position and unicodedata.category(self.text[position - 1])[0] == "M":
            position -= 1
        return position > 0 and _is_of_word(self.text[position - 1])

    def is_border(self, position: int) -> bool:
        """True if a name can begin or end at a position: neither within a unit nor within a word."""
        if not 0 < position < len(self.text):
            return True
        if self._starts[position - 1] == self._starts[position]:
            return False
        return position in self._separators or not (_is_of_word(self.text[position]) and self._ends_word(position))

    def punctuation(self, start: int, end: int) -> list[tuple[int, str]]:
        """The punctuation between the letters of a range that does not simply join them.

        Args:
            start: Position of the first letter.
            end: Position behind the last letter.

        Returns:
            The position, counted from ``start``, of the letter behind each piece of punctuation, and the piece.
        """
        inside = self._separated[bisect_right(self._separated, start) : bisect_left(self._separated, end)]
        return [(position - start, self._separators[position]) for position in inside]

    def span(self, start: int, end: int) -> tuple[int, int]:
        """The offsets in the text of the letters of a range."""
        last = self._starts[end - 1]
        return self._starts[start], self._ends.get(last, last + 1)


class _Kinds(dict[str, tuple[int, str]]):
    """Maps each character to its kind in a name and its normalised form; filled as characters are met."""

    def __missing__(self, character: str) -> tuple[int, str]:
        # Behind a digit, with which nothing composes; punctuation alone would not be dropped.
        kept = normalized_name(f"0{character}")[1:]
        kind = _LETTER if kept else _DROPPED
        # The iota subscript is a mark, although folding its case makes it a letter.
        if kept and (_composes(character) or _composes(kept[0])):
            kind = _MARK
        self[character] = kind, kept
        return self[character]


_KINDS = _Kinds()


def _composes(character: str) -> bool:
    """True if a character can compose with the one before it."""
    first = unicodedata.normalize("NFKD", character)[0]
    return unicodedata.category(first)[0] == "M" or _HANGUL_PARTS[0] <= first <= _HANGUL_PARTS[1]


@lru_cache(maxsize=1 << 14)
def _is_of_word(letter: str) -> bool:
    """True if a letter is a digit or of a script with spaces between words; Han, Kana and Hangul are wide."""
    return letter.isalnum() and unicodedata.east_asian_width(letter) != "W"
