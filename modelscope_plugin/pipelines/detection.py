"""Spans of texts that have none: from the names of the index, a ModelScope pipeline, or any function."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

from modelscope_plugin.data.records import Document, Mention, excerpt
from modelscope_plugin.errors import InputError, InputTypeError
from modelscope_plugin.index.entity_index import EntityIndex

Detector: TypeAlias = Callable[[str], Any]

DICTIONARY = "dictionary"


def make_detector(detector: str | Detector | None, index: EntityIndex) -> Detector | None:
    """What ``detector=`` names, as a function of a text.

    Args:
        detector: ``dictionary`` for the names of the index; a function from a text to spans, or a ModelScope pipeline
            for named-entity recognition; None for none.
        index: The index.

    Returns:
        The function.

    Raises:
        InputError: If it is another word, or a package is missing.
        InputTypeError: If it is of no use.
    """
    if detector is None:
        return None
    if callable(detector):
        return detector
    if detector != DICTIONARY:
        kind = InputError if isinstance(detector, str) else InputTypeError
        raise kind(
            f"detector={detector!r} is not known; give {DICTIONARY!r}, a function from a text to spans, or a "
            "ModelScope pipeline for named-entity recognition"
        )
    from modelscope_plugin.index.names.detector import DictionaryDetector

    return DictionaryDetector(index.lexicon.names)


def with_detected(document: Document, detector: Detector) -> Document:
    """A text with the mentions that a detector finds; a text that has mentions keeps its own.

    Args:
        document: The text.
        detector: What finds them. It gives (start, end) pairs, dicts with ``start`` and ``end``, or a dict with a list
            of either as ``output``, as ModelScope's pipelines do. Of spans that overlap the first longest stays.

    Returns:
        The text with its mentions, in its order.

    Raises:
        InputError: If a span lies outside the text.
        InputTypeError: If the detector gives something else.
    """
    if document.mentions or not document.text.strip():
        return document
    spans = [_span(span) for span in _listed(detector(document.text))]
    mentions: list[Mention] = []
    for start, end in sorted(set(spans), key=lambda span: (span[0] - span[1], span[0])):
        try:
            mention = Mention(document.text, start, end, text_id=document.text_id)
        except InputError as error:
            raise InputError(f"the detector gave a span that is not usable: {error}") from None
        if all(mention.end <= other.start or other.end <= mention.start for other in mentions):
            mentions.append(mention)
    return replace(document, mentions=tuple(sorted(mentions, key=lambda mention: mention.start)))


def _listed(found: Any) -> Iterable[Any]:
    if isinstance(found, Mapping):
        found = found.get("output")
    if not isinstance(found, Iterable) or isinstance(found, str):
        raise InputTypeError(f"a detector must give a list of spans, not {excerpt(repr(found))}")
    return found


def _span(span: Any) -> tuple[int, int]:
    if isinstance(span, Mapping):
        span = (span.get("start"), span.get("end"))
    try:
        start, end = span
    except (TypeError, ValueError):
        raise InputTypeError(
            f"a span must be (start, end) or have 'start' and 'end', not {excerpt(repr(span))}"
        ) from None
    return start, end
