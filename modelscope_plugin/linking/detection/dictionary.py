"""Mentions of a text by the names of a knowledge base, for callers that have no named-entity recognition."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any

from modelscope_plugin.errors import InputError
from modelscope_plugin.linking.detection.letters import Letters
from modelscope_plugin.retrieval.lexical.alias_index import AliasIndex

DEFAULT_MIN_LENGTH = 2
DEFAULT_MAX_BEARERS = 100

# Letters of a name at most; a longer one stands in no text.
_LONGEST = 256
# Letters searched at once, so that the matches of a text of any length are never all in memory.
_WINDOW = 1 << 14


class DictionaryDetector:
    """Finds the names of an alias index in texts: from left to right the longest match, without overlaps.

    Matching is by normalised characters (width, case, script, punctuation). Inside a name the text may have a hyphen,
    an apostrophe, a middle dot, or white space beside a word of Latin letters, digits or another script that writes
    words apart; any other punctuation only where the name is written with it ("Node.js", "你好，李焕英"). A match
    that would begin or end inside such a word is none; Han, Kana and Hangul have no such words. Left out are names
    that say little: shorter than ``min_length``, borne by more than ``max_bearers`` entities, or without a letter; and
    those of more than 256 characters.

    Args:
        names: The alias index.
        written: From a row to the names of its entity as they are written; where it is not given, names are not found
            with punctuation other than the joining kind.
        min_length: Characters that a name has at least, normalised.
        max_bearers: Entities that bear a name at most.

    Raises:
        InputError: If the package that finds names in a text is missing, or a bound is not positive.
    """

    def __init__(
        self,
        names: AliasIndex,
        written: Callable[[int], Iterable[str]] | None = None,
        *,
        min_length: int = DEFAULT_MIN_LENGTH,
        max_bearers: int = DEFAULT_MAX_BEARERS,
    ) -> None:
        if min_length < 1 or max_bearers < 1:
            raise InputError(f"min_length={min_length} and max_bearers={max_bearers} must be at least 1")
        try:
            from ahocorasick_rs import AhoCorasick, Implementation, MatchKind
        except ImportError:
            raise InputError(
                "the dictionary detector needs ahocorasick_rs; install it with: pip install 'modelscope_plugin[detect]'"
            ) from None
        self._names = names
        self._written = written
        # Read from the entities when a text has punctuation where a name may have some, which is seldom.
        self._parted_of = lru_cache(maxsize=1 << 12)(self._parted_of_bearers)
        self._automaton: Any = AhoCorasick(
            (
                name
                for name, bearers in zip(names.names, names.bearer_counts().tolist(), strict=True)
                if min_length <= len(name) <= _LONGEST and bearers <= max_bearers and any(map(str.isalpha, name))
            ),
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
        letters = Letters(text)
        spans: list[tuple[int, int]] = []
        free = 0
        for start, end in self._matches(letters.text):
            whole = start >= free and letters.is_border(start) and letters.is_border(end)
            if whole and self._is_written(letters, start, end):
                spans.append(letters.span(start, end))
                free = end
        return spans

    def _matches(self, letters: str) -> Iterator[tuple[int, int]]:
        """Every match by its start, the longest first."""
        for begin in range(0, len(letters), _WINDOW):
            # All of them: one that ends inside a word must not hide a shorter one that does not.
            found = self._automaton.find_matches_as_indexes(
                letters[begin : begin + _WINDOW + _LONGEST - 1], overlapping=True
            )
            matches = {(begin + start, begin + end) for _, start, end in found if start < _WINDOW}
            yield from sorted(matches, key=lambda match: (match[0], -match[1]))

    def _is_written(self, letters: Letters, start: int, end: int) -> bool:
        """Whether the punctuation in a match is that of a name."""
        parted = letters.parted(start, end)
        return not parted or any(parted == name for name in self._parted_of(letters.text[start:end]))

    def _parted_of_bearers(self, name: str) -> tuple[list[tuple[int, str]], ...]:
        """Where punctuation stands in a name, in all the ways in which its bearers write it."""
        if self._written is None:
            return ()
        rows = self._names.exact(name).tolist()
        ways = map(Letters, sorted({way for row in rows for way in self._written(row)}))
        return tuple(letters.parted(0, len(name)) for letters in ways if letters.text == name)
