"""Long texts as overlapping windows, for detectors that read a few hundred characters at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from modelscope_plugin.linking.detection.protocol import Span


def window_starts(length: int, size: int, overlap: int) -> list[int]:
    """Choose where the windows of a text begin.

    Args:
        length: Characters of the text.
        size: Characters of a window, the last one aside, which can be shorter.
        overlap: Characters that a window shares with the next.

    Returns:
        The offsets, rising from 0; one where the text fits into a window.
    """
    return [0, *range(size - overlap, length - overlap, size - overlap)]


def join_spans(found: Iterable[Sequence[Span]], starts: Sequence[int], overlap: int) -> list[Span]:
    """Put together what was found in the windows of a text.

    A span is taken from the window in which it has more of the text around it: seams lie in the middle of each overlap,
    and a span belongs to the window between whose seams it begins. So none is found twice, and none of up to half the
    overlap is cut off.

    Args:
        found: For each window its spans, in characters of the window.
        starts: Where the windows begin, as from `window_starts`.
        overlap: As for `window_starts`.

    Returns:
        The spans in characters of the text, in the order found.
    """
    seams = [start + overlap // 2 for start in starts[1:]]
    spans = []
    for start, least, behind, inside in zip(starts, [None, *seams], [*seams, None], found, strict=True):
        for first, end in inside:
            position = start + first
            if (least is None or position >= least) and (behind is None or position < behind):
                spans.append((position, start + end))
    return spans
