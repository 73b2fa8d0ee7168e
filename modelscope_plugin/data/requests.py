"""Parses the inputs of the pipelines: texts, marked texts, dicts with offsets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from modelscope_plugin.data.markers import parse_marked_text
from modelscope_plugin.data.parsing import parse_document
from modelscope_plugin.data.records import Document, Mention, excerpt
from modelscope_plugin.errors import InputError, InputTypeError

SOURCE_KEY = "source_sentence"
CANDIDATES_KEY = "sentences_to_compare"

SourceText: TypeAlias = str | Mention


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
            item. Sources are texts (with markers or without), `Mention` objects or dicts with a text and
            offsets. A text or mention alone is read as a dict with that one source.
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
        sources, candidates = _items(value[source_key]), _items(value.get(candidates_key))
    else:
        sources, candidates = _items(value), []
    for position, text in enumerate(candidates):
        if not isinstance(text, str):
            raise InputTypeError(f"{candidates_key}[{position}] must be a text, not {type(text).__name__}")
    return EmbeddingRequest(
        [_parse_source(item, f"{source_key}[{row}]") for row, item in enumerate(sources)], candidates
    )


def parse_linking_document(value: Any, *, unmarked: bool = False) -> Document:
    """Read one input of the entity-linking pipeline.

    Args:
        value: A text with a marked mention, a `Mention`, a `Document`, or a dict with ``text`` and one or many
            mentions, in the forms that `modelscope_plugin.data.parsing.parse_document` reads.
        unmarked: Whether a text without any mention is accepted.

    Returns:
        The text and its mentions.

    Raises:
        InputTypeError: If the input has the wrong type.
        InputError: If there is no mention in a text without offsets, or offsets or markers are not usable.
    """
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


def _items(value: Any) -> list[Any]:
    if value is None:
        return []
    if isinstance(value, str | Mention | Mapping):
        return [value]
    if hasattr(value, "tolist"):  # a numpy array
        value = value.tolist()
    if isinstance(value, Sequence):
        return list(value)
    raise InputTypeError(f"a text or a list of texts is needed, not {type(value).__name__}")


def _parse_source(item: Any, name: str) -> SourceText:
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
    except InputTypeError as error:
        raise InputTypeError(f"{name}: {error}") from None
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
    raise InputTypeError(f"{name} must be a text, a Mention or a dict with offsets, not {type(item).__name__}")
