"""Spans of texts that have none: from the names of the index, a ModelScope pipeline, or any function."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from operator import index
from typing import Any, TypeAlias

from modelscope_plugin.data.records import Document, Mention, excerpt
from modelscope_plugin.errors import InputError, InputTypeError
from modelscope_plugin.retrieval.entity_index import EntityIndex

Detector: TypeAlias = Callable[[str], Any]

DICTIONARY = "dictionary"


def make_detector(detector: str | Detector | None, entities: EntityIndex) -> Detector | None:
    """What ``detector=`` names, as a function of a text.

    Args:
        detector: ``dictionary`` for the names of the index; a function from a text to spans, or a ModelScope pipeline
            for named-entity recognition; None for none.
        entities: The index.

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
    return _Dictionary(entities)


class _Dictionary:
    """The dictionary detector of an index, made anew where the names of the index have changed."""

    def __init__(self, entities: EntityIndex) -> None:
        self._entities = entities
        self._make()

    def _make(self) -> None:
        from modelscope_plugin.linking.detection.dictionary import DictionaryDetector

        self._names = self._entities.lexicon.names
        self._detector = DictionaryDetector(self._names, lambda row: self._entities[row].names)

    def __call__(self, text: str) -> list[tuple[int, int]]:
        if self._entities.lexicon.names is not self._names:
            self._make()
        return self._detector(text)


def with_detected(document: Document, detector: Detector) -> Document:
    """A text with the mentions that a detector finds; one that has mentions, or is said to have none, stays as it is.

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
    if document.mentions or document.has_no_mentions or not document.text.strip():
        return document
    spans = [_span(span) for span in _listed(detector(document.text))]
    kept: list[tuple[int, int]] = []
    for start, end in sorted(set(spans), key=lambda span: (span[0] - span[1], span[0])):
        # Those kept do not overlap, so only the neighbours can.
        place = bisect_left(kept, (start, end))
        before, after = kept[:place][-1:], kept[place : place + 1]
        if all(other[1] <= start for other in before) and all(end <= other[0] for other in after):
            kept.insert(place, (start, end))
    try:
        mentions = tuple(Mention(document.text, *span, text_id=document.text_id) for span in kept)
    except InputError as error:
        raise InputError(f"the detector gave a span that is not usable: {error}") from None
    return replace(document, mentions=mentions)


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
        start, end = map(index, span)
    except (TypeError, ValueError):
        raise InputTypeError(
            f"a span must be (start, end) or have 'start' and 'end', as integers, not {excerpt(repr(span))}"
        ) from None
    return start, end
