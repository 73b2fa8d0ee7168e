"""Tokenises a mention and an entity text as one sequence, for a cross encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from modelscope_plugin.data.records import Mention
from modelscope_plugin.errors import InputError, InputTypeError
from modelscope_plugin.modeling.tokenization import EntityTokenizer
from modelscope_plugin.types import TokenIds

_Item = TypeVar("_Item")
_Types = tuple[TokenIds, int, TokenIds, int, TokenIds]


class PairIds(NamedTuple):
    """The tokens of a mention and an entity text, special tokens included, without padding.

    Attributes:
        input_ids: Token ids.
        token_type_ids: The segment of each token: for BERT 0 up to the first [SEP], 1 behind it.
    """

    input_ids: TokenIds
    token_type_ids: TokenIds


class PairTokenizer:
    """Turns mentions and entity texts into ``[CLS] … [ENT_S] mention [ENT_E] … [SEP] entity text [SEP]``.

    Both sides share the window of the tokenizer, ``max_length`` tokens. Where they do not fit, the longer side is cut
    until both are equally long, as transformers does with ``longest_first``: so the shorter side leaves its room to
    the other. The mention's side is cut to a window centred on the mention, the entity text keeps its beginning.

    Args:
        tokenizer: The tokenizer with window, markers and prefixes.

    Raises:
        InputError: If the window leaves no room for a mention and an entity text, or the tokenizer cannot join texts.
    """

    def __init__(self, tokenizer: EntityTokenizer) -> None:
        self.tokenizer = tokenizer
        raw = tokenizer.tokenizer
        self.has_token_types = "token_type_ids" in raw.model_input_names
        self._head, self._middle, self._tail, self._types = _find_frame(tokenizer)
        self._find_room()

    @property
    def max_length(self) -> int:
        """Tokens of a pair, special tokens included."""
        return self.tokenizer.max_length

    def pair_ids(self, mentions: Sequence[str | Mention], texts: Sequence[str]) -> list[PairIds]:
        """Tokenise pairs of a mention and an entity text; equal mentions and texts are tokenised once.

        Args:
            mentions: `Mention` objects, texts with one marked mention, or texts without markers.
            texts: The entity text of each.

        Returns:
            The tokens of each pair, at most ``max_length`` of them.

        Raises:
            InputError: If there is not one text for each mention, or the markers of a text are not a pair.
            InputTypeError: If an item has the wrong type.
        """
        if len(mentions) != len(texts):
            raise InputError(f"{len(mentions)} mentions and {len(texts)} entity texts; there must be one for each")
        room = self._find_room()
        distinct_mentions, mention_rows = _find_distinct(mentions)
        distinct_texts, text_rows = _find_distinct(texts)
        try:
            mention_parts = self.tokenizer.mention_parts(distinct_mentions)
        except InputError:
            self.tokenizer.mention_parts(mentions)  # its error names the position among all
            raise
        entity_ids = self.tokenizer.entity_parts(distinct_texts)
        prefixes = self.tokenizer.mention_prefix_ids, self.tokenizer.entity_prefix_ids
        return [
            self._join(mention_parts[mention], entity_ids[text], prefixes, room)
            for mention, text in zip(mention_rows, text_rows, strict=True)
        ]

    def join_ids(self, first: TokenIds, second: TokenIds) -> PairIds:
        """Put the special tokens around two sequences, which are not cut."""
        head, first_type, middle, second_type, tail = self._types
        return PairIds(
            [*self._head, *first, *self._middle, *second, *self._tail],
            [*head, *[first_type] * len(first), *middle, *[second_type] * len(second), *tail],
        )

    def pad(self, pairs: Sequence[PairIds]) -> dict[str, npt.NDArray[np.int64]]:
        """Pad pairs to the length of the longest.

        Args:
            pairs: The pairs, at least one.

        Returns:
            ``input_ids``, ``attention_mask`` and, where the tokenizer has them, ``token_type_ids``, all int64 of shape
            (n, longest).
        """
        inputs = self.tokenizer.pad([pair.input_ids for pair in pairs])
        if self.has_token_types:
            types = np.zeros_like(inputs["input_ids"])
            for row, pair in enumerate(pairs):
                types[row, : len(pair.token_type_ids)] = pair.token_type_ids
            inputs["token_type_ids"] = types
        return inputs

    def _find_room(self) -> int:
        """Tokens for both sides and their prefixes; raise `InputError` if that is too few."""
        tokenizer = self.tokenizer
        around = len(self._head) + len(self._middle) + len(self._tail)
        least = tokenizer.least_mention + 1 + len(tokenizer.mention_prefix_ids) + len(tokenizer.entity_prefix_ids)
        if around + least > self.max_length:
            raise InputError(
                f"max_length={self.max_length} leaves no room for a mention and an entity text; it must be at least "
                f"{around + least}"
            )
        return self.max_length - around

    def _join(self, parts: list[TokenIds], entity: TokenIds, prefixes: tuple[TokenIds, TokenIds], room: int) -> PairIds:
        mention_prefix, entity_prefix = prefixes
        markers = self.tokenizer.least_mention - 1 if len(parts) > 1 else 0
        left = len(mention_prefix) + markers + sum(map(len, parts))
        right = len(entity_prefix) + len(entity)
        # What is never cut: the prefixes, the markers and one token of each side.
        least_left, least_right = min(left, len(mention_prefix) + markers + 1), min(right, len(entity_prefix) + 1)
        left = min(max(_share_room(left, right, room), least_left), room - least_right)
        first = mention_prefix + self.tokenizer.cut_mention(parts, left - len(mention_prefix))
        second = entity_prefix + entity[: room - left - len(entity_prefix)]
        return self.join_ids(first, second)


def _share_room(first: int, second: int, room: int) -> int:
    """The tokens of the first side when both share the room in the way of ``longest_first``.

    The longer side gets an odd token, the second one if they are equally long.
    """
    if first + second <= room:
        return first
    shorter = min(first, second, room // 2)
    return shorter if first <= second else room - shorter


def _find_distinct(items: Sequence[_Item]) -> tuple[list[_Item], list[int]]:
    """The distinct items, and for each item its position among them."""
    positions: dict[_Item, int] = {}
    try:
        rows = [positions.setdefault(item, len(positions)) for item in items]
    except TypeError:
        raise InputTypeError("a pair holds a mention and an entity text; an item of another type was given") from None
    return list(positions), rows


def _find_frame(tokenizer: EntityTokenizer) -> tuple[TokenIds, TokenIds, TokenIds, _Types]:
    """Find the ids before, between and behind two texts, and the token types of these and of both texts."""
    raw = tokenizer.tokenizer
    plain: TokenIds = raw("1", add_special_tokens=False)["input_ids"]
    framed = raw("1", "1", return_token_type_ids=True)
    ids: TokenIds = framed["input_ids"]
    types: TokenIds = framed["token_type_ids"]
    size = len(plain)
    starts = [start for start in range(len(ids) - size + 1) if ids[start : start + size] == plain]
    if not size or len(starts) < 2:
        raise InputError("the tokenizer does not join two texts to a pair; a BERT-family tokenizer is needed")
    first, second = starts[0], starts[-1]
    behind = first + size, second + size
    frame = ids[:first], ids[behind[0] : second], ids[behind[1] :]
    return *frame, (types[:first], types[first], types[behind[0] : second], types[second], types[behind[1] :])
