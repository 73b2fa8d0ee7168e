"""Reads the inputs of the two pipelines: texts, marked texts, dicts with offsets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from modelscope_plugin.data.markers import parse_marked_text
from modelscope_plugin.data.parsing import parse_document
from modelscope_plugin.data.records import Document, Mention, excerpt
from modelscope_plugin.data.values import to_python
from modelscope_plugin.errors import InputError, InputTypeError

SOURCE_KEY = "source_sentence"
CANDIDATES_KEY = "sentences_to_compare"

SourceText: TypeAlias = str | Mention

_Read = TypeVar("_Read")


@dataclass(frozen=True)
class EmbeddingRequest:
    """One call of the sentence-embedding pipeline.

    Attributes:
        sources: The source sentences, encoded as mentions.
        candidates: The sentences to compare them with, encoded as entities.
    """

    sources: list[SourceText]
    candidates: list[str]


def parse_embedding_request(
    value: Any, source_key: str = SOURCE_KEY, candidates_key: str = CANDIDATES_KEY
) -> EmbeddingRequest:
    """Read the input of the sentence-embedding pipeline.

    Args:
        value: A dict with source sentences and, optionally, sentences to compare; each a list, or one
            item; a numpy array is a list. Sources are texts (with markers or without), `Mention` objects or dicts
            with a text and offsets. A bare text or mention stands for a dict with that one source.
        source_key: Key of the source sentences.
        candidates_key: Key of the sentences to compare.

    Returns:
        The request.

    Raises:
        InputTypeError: If the input or an item of it has the wrong type.
        InputError: If offsets or markers are not usable.
    """
    if isinstance(value, Mapping) and "text" not in value:
        unknown = [key for key in value if key not in (source_key, candidates_key)]
        if unknown or source_key not in value:
            reason = f"unknown key {unknown[0]!r}" if unknown else f"no {source_key!r}"
            raise InputTypeError(f"{reason} in the input; it takes {source_key!r} and {candidates_key!r}")
        sources, candidates = _as_list(value[source_key]), _as_list(value.get(candidates_key))
    else:
        sources, candidates = _as_list(value), []
    for position, text in enumerate(candidates):
        if not isinstance(text, str):
            raise InputTypeError(f"{candidates_key}[{position}] must be a text, not {type(text).__name__}")
    return EmbeddingRequest(
        [_parse_source(item, f"{source_key}[{position}]") for position, item in enumerate(sources)], candidates
    )


def parse_linking_document(value: Any, *, unmarked: bool = False) -> Document:
    """Read one input of the entity-linking pipeline.

    Args:
        value: A text with a marked mention, a `Mention`, a `Document`, or a dict with ``text`` and one or many
            mentions, in the forms that `modelscope_plugin.data.parsing.parse_document` reads.
        unmarked: Whether a text may have no mention.

    Returns:
        The text and its mentions.

    Raises:
        InputTypeError: If the input has the wrong type.
        InputError: If there is no mention in a bare text, or offsets or markers are not usable.
    """
    value = to_python(value)
    if isinstance(value, Document):
        return value
    if isinstance(value, Mention):
        return Document(value.text, (value,), value.text_id)
    if isinstance(value, str):
        mention = parse_marked_text(value)
        if mention is None and unmarked:
            return Document(value, ())
        if mention is None:
            raise InputError(
                f"no mention in {excerpt(value)}; mark it as [ENT_S] … [ENT_E], or give "
                "{'text': …, 'mentions': [{'start': …, 'end': …}]}"
            )
        return Document(mention.text, (mention,))
    if isinstance(value, Mapping):
        document = parse_document(value)
        named = any(key in value for key in ("mentions", "mention_data"))
        if not (document.mentions or named or unmarked):
            raise InputError(f"no mention in {excerpt(document.text)}; give 'start' and 'end', 'mentions' or markers")
        return document
    raise InputTypeError(f"a text or a dict is needed, not {type(value).__name__}")


def read_inputs(inputs: list[Any], read: Callable[[Any], _Read]) -> list[_Read]:
    """Read a list of inputs of a pipeline.

    Args:
        inputs: The inputs.
        read: Reads one of them; raises `InputError` if it cannot be used.

    Returns:
        What was read, in input order.

    Raises:
        InputError: If an input cannot be used; one of several is named by its position.
    """
    results = []
    for position, value in enumerate(inputs):
        try:
            results.append(read(value))
        except InputError as error:
            if len(inputs) == 1:
                raise
            raise type(error)(f"input {position}: {error}") from None
    return results


def _as_list(value: Any) -> list[Any]:
    """Return a list as it is, one item as a list of one, None as an empty list."""
    value = to_python(value)
    if value is None:
        return []
    if isinstance(value, str | Mention | Mapping):
        return [value]
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [to_python(item) for item in value]
    raise InputTypeError(f"a text or a list of texts is needed, not {type(value).__name__}")


def _parse_source(item: Any, key: str) -> SourceText:
    try:
        if isinstance(item, Mapping):
            document = parse_linking_document(item)
            if len(document.mentions) != 1:
                raise InputError(f"{len(document.mentions)} mentions in one source; give one item for each")
            return document.mentions[0]
        if isinstance(item, str):
            return parse_marked_text(item) or item
        if isinstance(item, Mention):
            return item
    except InputError as error:
        raise type(error)(f"{key}: {error}") from None
    raise InputTypeError(f"{key} must be a text, a Mention or a dict with offsets, not {type(item).__name__}")
