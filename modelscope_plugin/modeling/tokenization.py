"""Tokenises mentions and entity texts with any tokenizer of the BERT family."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from modelscope_plugin.checks import check_integer
from modelscope_plugin.data.markers import MENTION_END, MENTION_START, parse_marked_text
from modelscope_plugin.data.records import Mention
from modelscope_plugin.errors import InputError, InputTypeError
from modelscope_plugin.modeling.window import mention_window
from modelscope_plugin.types import TokenIds

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# More characters than any token has: the longest word that BERT's tokenizers look up has 100.
_CHARACTERS_PER_TOKEN = 128
# Tokens, more than any text has.
_WIDEST = 1 << 16
_BLANKS = re.compile(r"\s{16,}")

DEFAULT_MAX_LENGTH = 128
"""Tokens of a window, as in the model card."""


class EntityTokenizer:
    """Turns mentions and entity texts into token ids.

    A mention is cut to a window centred on it, so that both markers and the mention always survive;
    a text without a mention, and an entity text, keeps its beginning.

    Where the tokenizer's vocabulary holds the markers they are single tokens. Where it does not (a
    checkpoint trained without them) they are tokenised as the tokenizer sees fit, like in ModelScope's
    built-in preprocessor, and still survive the window as a whole.

    Args:
        tokenizer: The checkpoint's tokenizer; markers that are in its vocabulary are declared special.
        max_length: Tokens of a window, special tokens included.
        mention_prefix: Text put in front of every source text (ModelScope's ``boq``).
        entity_prefix: Text put in front of every entity text (ModelScope's ``bod``).

    Raises:
        InputError: If ``max_length`` leaves no room for a mention.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        max_length: int = DEFAULT_MAX_LENGTH,
        mention_prefix: str = "",
        entity_prefix: str = "",
    ) -> None:
        self.tokenizer = tokenizer
        self.mention_prefix = mention_prefix
        self.entity_prefix = entity_prefix
        if self.has_markers:
            declare_markers(tokenizer)
        self._head, self._tail = _special_ids(tokenizer)
        self._start, self._end = self.text_ids([MENTION_START, MENTION_END])
        self.max_length = max_length

    @property
    def has_markers(self) -> bool:
        """True if both markers are in the vocabulary."""
        vocabulary = self.tokenizer.get_vocab()
        return MENTION_START in vocabulary and MENTION_END in vocabulary

    @property
    def pad_token_id(self) -> int:
        """The id that fills up a batch."""
        return int(self.tokenizer.pad_token_id or 0)

    @property
    def max_length(self) -> int:
        """Tokens of a window, special tokens included."""
        return self._max_length

    @max_length.setter
    def max_length(self, value: int) -> None:
        value = check_integer("max_length", value)
        least = len(self._head) + len(self._tail) + self.least_mention
        if value < least:
            raise InputError(f"max_length={value} leaves no room for a mention; it must be at least {least}")
        self._max_length = value

    def without_limit(self) -> EntityTokenizer:
        """Return a tokenizer with the same prefixes and a window of 65,536 tokens; this one keeps its own."""
        return EntityTokenizer(self.tokenizer, _WIDEST, self.mention_prefix, self.entity_prefix)

    @property
    def special_ids(self) -> tuple[TokenIds, TokenIds]:
        """The ids in front of and behind every text: [CLS] and [SEP] for BERT."""
        return self._head, self._tail

    def mention_ids(self, mentions: Sequence[str | Mention]) -> list[TokenIds]:
        """Tokenise mentions, or texts without a mention.

        Args:
            mentions: `Mention` objects, texts with one marked mention, or texts without markers.

        Returns:
            The ids of each, at most ``max_length`` long.

        Raises:
            InputError: If the markers of a text are unbalanced, reversed, nested or repeated.
            InputTypeError: If an item is neither a text nor a `Mention`.
        """
        head = self._head + self.mention_prefix_ids
        room = self.max_length - len(head) - len(self._tail)
        return [self._frame(head, self.cut_mention(parts, room)) for parts in self.mention_parts(mentions)]

    def mention_parts(self, mentions: Sequence[str | Mention]) -> list[list[TokenIds]]:
        """Tokenise mentions in parts, without prefix, markers and special tokens.

        Args:
            mentions: As for `mention_ids`.

        Returns:
            For each mention the ids of its left context, of itself and of its right context; for a text without a
            mention the ids of the text alone.

        Raises:
            InputError: If the markers of a text are unbalanced, reversed, nested or repeated.
            InputTypeError: If an item is neither a text nor a `Mention`.
        """
        parts: list[str] = []
        pieces: list[int] = []
        reach = self._reach
        for position, item in enumerate(mentions):
            mention = _as_mention(item, position)
            if mention is None:
                parts.append(_squeeze(str(item), reach)[:reach])
                pieces.append(1)
            else:
                left, right = mention.text[: mention.start], mention.text[mention.end :]
                left, right = _squeeze(left, reach).rstrip(), _squeeze(right, reach).lstrip()
                parts += [left[-reach:], mention.surface.strip()[:reach], right[:reach]]
                pieces.append(3)
        tokens = iter(self.text_ids(parts))
        return [[next(tokens) for _ in range(count)] for count in pieces]

    def cut_mention(self, parts: list[TokenIds], size: int) -> TokenIds:
        """Cut a mention to a window centred on it.

        Args:
            parts: One item of `mention_parts`.
            size: Tokens of the window, markers included, prefix and special tokens taken off.

        Returns:
            The ids: left context, mention between its markers, right context; at most ``size``.

        Raises:
            InputError: If the window has no room for a mention.
        """
        if len(parts) == 1:
            return parts[0][: max(0, size)]
        left, mention, right = parts
        around = len(self._start) + len(self._end)
        if size < around + min(1, len(mention)):
            raise InputError(f"max_length={self.max_length} leaves no room for a mention behind the prefix")
        keep = mention_window(len(left), len(mention), len(right), size - around)
        return [
            *left[len(left) - keep.left :],
            *self._start,
            *mention[: keep.mention],
            *self._end,
            *right[: keep.right],
        ]

    def entity_ids(self, texts: Sequence[str]) -> list[TokenIds]:
        """Tokenise entity texts; each keeps its first ``max_length`` tokens.

        Args:
            texts: Entity texts, as `modelscope_plugin.data.entity_text` writes them.

        Returns:
            The ids of each.

        Raises:
            InputTypeError: If an item is not a text.
        """
        head = self._head + self.entity_prefix_ids
        room = max(0, self.max_length - len(head) - len(self._tail))
        return [self._frame(head, ids[:room]) for ids in self.entity_parts(texts)]

    def entity_parts(self, texts: Sequence[str]) -> list[TokenIds]:
        """Tokenise entity texts without prefix and special tokens, not cut to the window.

        Raises:
            InputTypeError: If an item is not a text.
        """
        for position, text in enumerate(texts):
            if not isinstance(text, str):
                raise InputTypeError(f"entity text {position} must be a string, not {type(text).__name__}")
        reach = self._reach
        return self.text_ids([_squeeze(text, reach)[:reach] for text in texts])

    def pad(self, sequences: Sequence[Sequence[int]]) -> dict[str, npt.NDArray[np.int64]]:
        """Pad sequences to the length of the longest.

        Args:
            sequences: Token ids, at least one sequence.

        Returns:
            ``input_ids`` and ``attention_mask``, both int64 of shape (n, longest).
        """
        length = max(map(len, sequences))
        input_ids = np.full((len(sequences), length), self.pad_token_id, dtype=np.int64)
        attention_mask = np.zeros((len(sequences), length), dtype=np.int64)
        for row, ids in enumerate(sequences):
            input_ids[row, : len(ids)] = ids
            attention_mask[row, : len(ids)] = 1
        return {"input_ids": input_ids, "attention_mask": attention_mask}

    @property
    def _reach(self) -> int:
        """Characters before or behind a mention that can be in its window; the rest of a book is not tokenised."""
        return _CHARACTERS_PER_TOKEN * self.max_length

    def text_ids(self, texts: list[str]) -> list[TokenIds]:
        """Tokenise texts as they are, without special tokens and whatever their length.

        Raises:
            InputError: If a text is not valid Unicode.
        """
        if not texts:
            return []
        try:
            encoded = self.tokenizer(
                texts, add_special_tokens=False, return_attention_mask=False, return_token_type_ids=False, verbose=False
            )
        except TypeError:
            # The tokenizer raises this for text that is not valid Unicode.
            raise InputError("a text holds half of a surrogate pair; pass whole characters") from None
        ids: list[TokenIds] = encoded["input_ids"]
        return ids

    @property
    def mention_prefix_ids(self) -> TokenIds:
        """The ids of the prefix of mentions; no window cuts it off."""
        return self.text_ids([self.mention_prefix])[0] if self.mention_prefix else []

    @property
    def entity_prefix_ids(self) -> TokenIds:
        """The ids of the prefix of entity texts; no window cuts it off."""
        return self.text_ids([self.entity_prefix])[0] if self.entity_prefix else []

    @property
    def least_mention(self) -> int:
        """Tokens of the smallest window around a mention: the markers and one token between them."""
        return len(self._start) + len(self._end) + 1

    def _frame(self, head: TokenIds, ids: TokenIds) -> TokenIds:
        # An empty text with a tokenizer that adds no [CLS]: a model needs one token.
        return [*head, *ids, *self._tail] or [self.pad_token_id]


def _squeeze(text: str, reach: int) -> str:
    """Shorten long runs of blanks in a text that is too long, so that they do not take the place of its words."""
    return text if len(text) <= reach else _BLANKS.sub(" ", text).strip()


def declare_markers(tokenizer: PreTrainedTokenizerBase) -> None:
    """Make the markers special tokens of a tokenizer, adding those that its vocabulary lacks."""
    from transformers import AddedToken

    # White space around a marker belongs to it, so that any other loader sees the tokens that this package makes.
    markers = [
        AddedToken(marker, lstrip=True, rstrip=True, normalized=False, special=True)
        for marker in (MENTION_START, MENTION_END)
    ]
    tokenizer.add_tokens(markers, special_tokens=True)


def _special_ids(tokenizer: PreTrainedTokenizerBase) -> tuple[TokenIds, TokenIds]:
    """Return the ids that the tokenizer puts before and behind a text: [CLS] and [SEP] for BERT."""
    plain: TokenIds = tokenizer("1", add_special_tokens=False)["input_ids"]
    framed: TokenIds = tokenizer("1")["input_ids"]
    for start in range(len(framed) - len(plain) + 1):
        if framed[start : start + len(plain)] == plain:
            return framed[:start], framed[start + len(plain) :]
    raise InputError("the tokenizer changes a text when it adds its special tokens; a BERT-family tokenizer is needed")


def _as_mention(item: str | Mention, position: int) -> Mention | None:
    if isinstance(item, Mention):
        return item
    if not isinstance(item, str):
        raise InputTypeError(f"text {position} must be a string or a Mention, not {type(item).__name__}")
    try:
        return parse_marked_text(item)
    except InputError as error:
        raise InputError(f"text {position}: {error}") from None
