"""Finds mentions by the names of a knowledge base, for callers that have no named-entity recognition."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

from modelscope_plugin.config.model_settings import PipelineSettings
from modelscope_plugin.errors import InputError
from modelscope_plugin.linking.detection.letters import Letters
from modelscope_plugin.linking.detection.link_probability import LinkProbabilities, choose_spans
from modelscope_plugin.linking.detection.protocol import Span
from modelscope_plugin.retrieval.lexical.alias_index import AliasIndex

DEFAULT_MIN_LENGTH = 2
DEFAULT_THRESHOLD = 0.3
"""The least link probability of a mention where none was fitted; measured on CCKS 2019 and KgCLUE."""

# Letters of a name at most; longer ones hardly occur in a text.
_LONGEST = 256
# Letters searched at once, so that memory does not grow with the number of matches in a long text.
_WINDOW = 1 << 14


class DictionaryDetector:
    """Finds the names of an alias index in texts, without overlaps.

    Where it is known how often names are mentions where they stand (`LinkProbabilities`), that decides which of the
    matches are mentions, see `choose_spans`; words that were mentions there are found too. Otherwise it takes from left
    to right the longest match.

    Matching is by normalised characters (width, case, script, punctuation). Inside a name the text may have a hyphen,
    an apostrophe, a middle dot, or white space beside a word of Latin letters, digits or another script that writes
    words apart; any other punctuation only where the name is written with it ("Node.js", "你好，李焕英"). A match
    does not begin or end inside such a word; Han, Kana and Hangul have no such words. Names that say little are left
    out: those shorter than ``min_length``, of more than ``max_bearers`` entities, or without a letter; so are those of
    more than 256 characters.

    Args:
        names: The alias index.
        written: Gives the names of the entity of a row as they are written; without it, only the punctuation that
            joins (hyphen, apostrophe, middle dot) may stand inside names.
        min_length: The fewest characters of a name, normalised.
        max_bearers: The most entities with the same name; by default what ``pipeline.max_bearers`` in the shipped
            configuration.json says.
        link_counts: For normalised names how often each stands in labelled texts, and how often it is a mention there.
        threshold: The least link probability of a mention, 0 to 1; by default 0.3.

    Raises:
        InputError: If the package that finds names in a text is missing, or a bound is not positive.
    """

    def __init__(
        self,
        names: AliasIndex,
        written: Callable[[int], Iterable[str]] | None = None,
        *,
        min_length: int = DEFAULT_MIN_LENGTH,
        max_bearers: int | None = None,
        link_counts: Mapping[str, tuple[int, int]] | None = None,
        threshold: float | None = None,
    ) -> None:
        max_bearers = PipelineSettings().max_bearers if max_bearers is None else max_bearers
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
        self._probabilities = LinkProbabilities(link_counts) if link_counts else None
        self._threshold = DEFAULT_THRESHOLD if threshold is None else threshold
        # Read from the entities only when a text has punctuation inside a match, which is rare.
        self._punctuation_of = lru_cache(maxsize=1 << 12)(self._read_punctuation)
        known = (
            name for name, bearers in zip(names.names, names.bearer_counts().tolist(), strict=True)
            if bearers <= max_bearers
        )  # fmt: skip
        counted = (name for name, (_, mentions) in (link_counts or {}).items() if mentions)
        self._automaton: Any = AhoCorasick(
            (
                name
                for name in dict.fromkeys(chain(known, counted))
                if min_length <= len(name) <= _LONGEST and any(map(str.isalpha, name))
            ),
            matchkind=MatchKind.Standard,
            implementation=Implementation.ContiguousNFA,
            store_patterns=False,
        )

    def detect(self, texts: Sequence[str]) -> list[list[Span]]:
        """Find the names in texts.

        Args:
            texts: The texts.

        Returns:
            For each text its spans, in the order of the text.
        """
        if self._probabilities is None:
            return [self._find_longest(text) for text in texts]
        return [choose_spans(self.match_names(text), self._probabilities, self._threshold) for text in texts]

    def match_names(self, text: str) -> Iterator[tuple[Span, str]]:
        """Find every name that stands in a text, also within others.

        Args:
            text: The text.

        Yields:
            The span of a name and the name, normalised; in the order of the text.
        """
        letters = Letters(text)
        for start, end in self._matches(letters.text):
            if self._is_name(letters, start, end):
                yield letters.span(start, end), letters.text[start:end]

    def _find_longest(self, text: str) -> list[Span]:
        letters = Letters(text)
        spans: list[Span] = []
        free = 0  # the first letter behind the last name
        for start, end in self._matches(letters.text):
            if start >= free and self._is_name(letters, start, end):
                spans.append(letters.span(start, end))
                free = end
        return spans

    def _matches(self, letters: str) -> Iterator[tuple[int, int]]:
        """Yield every match in the order of the text, the longest first of those with the same start."""
        for begin in range(0, len(letters), _WINDOW):
            # Overlapping ones too: one that ends inside a word must not hide a shorter one that does not.
            found = self._automaton.find_matches_as_indexes(
                letters[begin : begin + _WINDOW + _LONGEST - 1], overlapping=True
            )
            matches = {(begin + start, begin + end) for _, start, end in found if start < _WINDOW}
            yield from sorted(matches, key=lambda match: (match[0], -match[1]))

    def _is_name(self, letters: Letters, start: int, end: int) -> bool:
        """True if a match is no part of a word, and written as a name is."""
        return letters.is_border(start) and letters.is_border(end) and self._is_written(letters, start, end)

    def _is_written(self, letters: Letters, start: int, end: int) -> bool:
        """True if the match has no punctuation, or has it where a name has it."""
        punctuation = letters.punctuation(start, end)
        return not punctuation or any(punctuation == known for known in self._punctuation_of(letters.text[start:end]))

    def _read_punctuation(self, name: str) -> tuple[list[tuple[int, str]], ...]:
        """Return the punctuation of a name in every form in which its entities write it."""
        if self._written is None:
            return ()
        rows = self._names.exact(name).tolist()
        forms = map(Letters, sorted({form for row in rows for form in self._written(row)}))
        return tuple(letters.punctuation(0, len(name)) for letters in forms if letters.text == name)
