"""Reading, checking and choosing the spans that a detector finds."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from operator import index
from typing import Any

from modelscope_plugin.data.records import Document, Mention, excerpt
from modelscope_plugin.errors import InputError, InputTypeError
from modelscope_plugin.linking.detection.protocol import Detector, Span

# Texts that a detector gets at once.
_BATCH = 256


def add_mentions(documents: Sequence[Document], detector: Detector) -> list[Document]:
    """Add the mentions that a detector finds to texts that have none.

    Texts that have mentions, that are known to have none (`Document.has_no_mentions`), or that are blank stay as they
    are.

    Args:
        documents: The texts.
        detector: The detector. Of spans that overlap, the longest stays; of equally long ones, the first.

    Returns:
        The texts in input order, the mentions of each in the order of the text.

    Raises:
        InputError: If a span lies outside its text or holds nothing but white space.
        InputTypeError: If the detector returns anything else than spans for each text.
    """
    added = list(documents)
    rows = [row for row, one in enumerate(added) if not (one.mentions or one.has_no_mentions) and one.text.strip()]
    for start in range(0, len(rows), _BATCH):
        batch = rows[start : start + _BATCH]
        texts = [added[row].text for row in batch]
        for row, spans in zip(batch, check_results(detector.detect(texts), texts), strict=True):
            text, text_id = added[row].text, added[row].text_id
            mentions = [_mention(text, span, text_id) for span in read_spans(spans, text)]
            added[row] = replace(added[row], mentions=tuple(_drop_overlaps(mentions)))
    return added


def check_results(found: Any, texts: Sequence[str]) -> Sequence[Any]:
    """Return what was found in texts, which must be a list with one item for each text.

    Raises:
        InputTypeError: If it is not.
    """
    if not isinstance(found, list | tuple) or len(found) != len(texts):
        got = f"{len(found)} results" if isinstance(found, list | tuple) else excerpt(repr(found))
        raise InputTypeError(f"a detector must return a list of spans for each of {len(texts)} texts, not {got}")
    return found


def read_spans(found: Any, text: str) -> list[Span]:
    """Read the spans of one text in any form that a detector may return.

    Args:
        found: A list of (start, end) pairs or of dicts with ``start`` and ``end``, or a dict with such a list as
            ``output``, which ModelScope's pipelines return.
        text: The text, to name it in errors.

    Returns:
        The spans, in the same order.

    Raises:
        InputTypeError: If it has another form.
    """
    if isinstance(found, Mapping):
        found = found.get("output")
    if not isinstance(found, Iterable) or isinstance(found, str | bytes):
        raise InputTypeError(
            f"a detector must return a list of spans, not {excerpt(repr(found))}, for the text {excerpt(text)}"
        )
    return [_read_span(span, text) for span in found]


def _read_span(span: Any, text: str) -> Span:
    pair = (span.get("start"), span.get("end")) if isinstance(span, Mapping) else span
    try:
        start, end = map(index, pair)
    except (TypeError, ValueError):
        raise InputTypeError(
            f"a span must be (start, end) or have 'start' and 'end', as integers, not {excerpt(repr(span))}, in the "
            f"text {excerpt(text)}"
        ) from None
    return start, end


def _mention(text: str, span: Span, text_id: str) -> Mention:
    try:
        return Mention(text, *span, text_id=text_id)
    except InputError as error:
        raise InputError(f"the detector returned a span that cannot be used: {error}") from None


def _drop_overlaps(mentions: Iterable[Mention]) -> list[Mention]:
    """Keep the longest of mentions that overlap, of equally long ones the first, in the order of the text."""
    kept: list[Mention] = []
    for mention in sorted(mentions, key=lambda one: (one.start - one.end, one.start)):
        # Those kept do not overlap each other, so only the two neighbours can overlap this one.
        position = bisect_left(kept, mention.start, key=lambda one: one.start)
        before, after = kept[:position][-1:], kept[position : position + 1]
        if all(one.end <= mention.start for one in before) and all(mention.end <= one.start for one in after):
            kept.insert(position, mention)
    return kept
