"""Fits the least link probability of a mention on texts in which all mentions are labelled."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from modelscope_plugin.checks import check_number
from modelscope_plugin.data.records import Document
from modelscope_plugin.errors import InputError
from modelscope_plugin.evaluation.end_to_end import SpanFigures
from modelscope_plugin.linking.detection.dictionary import DictionaryDetector
from modelscope_plugin.linking.detection.link_probability import LinkProbabilities, choose_spans
from modelscope_plugin.retrieval.entity_index import EntityIndex

_THRESHOLDS = np.arange(1, 20) / 20


def fit_detection(
    index: EntityIndex, documents: Iterable[Document], *, precision: float | None = None, max_bearers: int | None = None
) -> tuple[float, SpanFigures]:
    """Fit the threshold of the dictionary detector and keep it in the index (`EntityIndex.fitted`).

    Args:
        index: An index in which mentions were counted (`count_mentions`), in other texts than these.
        documents: Texts in which all mentions are labelled.
        precision: The least precision of finding mentions, above 0, at most 1, with the best recall; None for the best
            F1.

        max_bearers: As for the detector that the threshold is for (`DictionaryOptions`).

    Returns:
        The threshold, one of 0.05, 0.1, ... 0.95, and the figures reached with it on these texts.

    Raises:
        InputError: If no mentions were counted for the index, no text has a mention, or no threshold reaches the
            precision.
    """
    if precision is not None:
        check_number("detection precision", precision, above=0, most=1)
    counts = index.lexicon.link_counts
    if not counts:
        raise InputError(
            "the index does not know how often its names are mentions; count that first with: modelscope entity index "
            "--count-mentions TEXTS --out INDEX"
        )
    texts = [document for document in documents if document.text.strip()]
    golds = [{(one.start, one.end) for one in document.mentions} for document in texts]
    if not any(golds):
        raise InputError(f"none of the {len(texts)} texts has a mention; nothing to fit")
    probabilities = LinkProbabilities(counts)
    detector = DictionaryDetector(
        index.lexicon.names, lambda row: index[row].names, max_bearers=max_bearers, link_counts=counts
    )
    matches = [list(detector.match_names(document.text)) for document in texts]
    best: tuple[float, SpanFigures] | None = None
    most_precise = 0.0
    for threshold in _THRESHOLDS.tolist():
        found = [set(choose_spans(one, probabilities, threshold)) for one in matches]
        correct = sum(len(spans & gold) for spans, gold in zip(found, golds, strict=True))
        figures = SpanFigures.of_counts(correct, sum(map(len, found)), sum(map(len, golds)))
        most_precise = max(most_precise, figures.precision)
        if precision is None:
            is_better = best is None or figures.f1 > best[1].f1
        else:
            is_better = figures.precision >= precision and (best is None or figures.recall > best[1].recall)
        if is_better:
            best = threshold, figures
    if best is None:
        raise InputError(
            f"a detection precision of {precision} is reached at no threshold; the best is {most_precise:.3f}"
        )
    index.fitted = replace(index.fitted, detection_threshold=best[0])
    return best
