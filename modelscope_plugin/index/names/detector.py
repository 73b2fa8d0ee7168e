"""Mentions of a text by the names of a knowledge base, for callers that have no named-entity recognition."""

from __future__ import annotations

from typing import Any

from modelscope_plugin.data.names import normalized_name
from modelscope_plugin.errors import InputError
from modelscope_plugin.index.names.alias_index import AliasIndex

# What stands inside names: hyphens, apostrophes, the dots of foreign names.
_JOINING = frozenset("-‐‑'’·•・‧")

DEFAULT_MIN_LENGTH = 2
DEFAULT_MAX_BEARERS = 100


class DictionaryDetector:
    """Finds the names of an alias index in texts: from left to right the longest match, without overlaps.

    Matching is by normalised characters (width, case, script). Inside a name the text may have a hyphen, an apostrophe,
    a middle dot, or white space between Latin words; no other punctuation. Left out are names that say little: shorter
    than ``min_length``, borne by more than ``max_bearers`` entities, or without a letter. A match that would begin or
    end inside a word of Latin letters or digits is none.

    Args:
        names: The alias index.
        min_length: Characters that a name has at least, normalised.
        max_bearers: Entities that bear a name at most.

    Raises:
        InputError: If the package that finds names in a text is missing, or a bound is not positive.
    """

    def __init__(
        self, names: AliasIndex, *, min_length: int = DEFAULT_MIN_LENGTH, max_bearers: int = DEFAULT_MAX_BEARERS
    ) -> None:
        if min_length < 1 or max_bearers < 1:
            raise InputError(f"min_length={min_length} and max_bearers={max_bearers} must be at least 1")
        try:
            from ahocorasick_rs import AhoCorasick, Implementation, MatchKind
        except ImportError:
            raise InputError(
                "the dictionary detector needs ahocorasick_rs; install it with: pip install 'modelscope_plugin[detect]'"
            ) from None
        patterns = [
            name
            for name, bearers in zip(names.names, names.bearer_counts().tolist(), strict=True)
            if len(name) >= min_length and bearers <= max_bearers and any(map(str.isalpha, name))
        ]
        # The automaton takes UTF-8, which a lone surrogate is not.
        self._automaton: Any = AhoCorasick(
            [name for name in patterns if not _has_surrogate(name)],
            matchkind=MatchKind.Standard,
            implementation=Implementation.ContiguousNFA,
            store_patterns=False,
        )

    def __call__(self, text: str) -> list[tuple[int, int]]:
        """The spans of names.

        Args:
            text: The text.

        Returns:
            (start, end) of each, in the order of the text.
        """
        letters, places = _normalized_letters(text)
        # All of them: one that ends inside a word must not hide a shorter one that does not.
        found = self._automaton.find_matches_as_indexes(letters, overlapping=True)
        matches = {(places[start], places[end - 1] + 1) for _, start, end in found}
        spans: list[tuple[int, int]] = []
        for start, end in sorted(matches, key=lambda match: (match[0], -match[1])):
            free = not spans or spans[-1][1] <= start
            if free and not _inside_word(text, start) and not _inside_word(text, end):
                spans.append((start, end))
        return spans


def _normalized_letters(text: str) -> tuple[str, list[int]]:
    """The normalised characters of a text, and the place in the text that each comes from."""
    letters: list[str] = []
    places: list[int] = []
    for place, character in enumerate(text):
        if character in _JOINING or (character.isspace() and _between_words(text, place)):
            continue
        kept = [one for one in normalized_name(character) if one.isalnum() or one in "#%&@*+"]
        # A line break is in no name: what it stands for ends one.
        letters += ["\n"] if _has_surrogate(character) or not kept else kept
        places += [place] * (len(letters) - len(places))
    return "".join(letters), places


def _between_words(text: str, place: int) -> bool:
    return 0 < place < len(text) - 1 and _latin(text[place - 1]) and _latin(text[place + 1])


def _inside_word(text: str, place: int) -> bool:
    """Whether a place lies between two Latin letters or digits."""
    return 0 < place < len(text) and _latin(text[place - 1]) and _latin(text[place])


def _latin(character: str) -> bool:
    return character.isascii() and character.isalnum()


def _has_surrogate(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)
