"""Counts in labelled texts how often the names of an index are mentions where they stand."""

from __future__ import annotations

from collections.abc import Iterable

from modelscope_plugin.data.names import normalized_name
from modelscope_plugin.data.records import Document
from modelscope_plugin.linking.detection.dictionary import DictionaryDetector
from modelscope_plugin.linking.detection.link_probability import count_links
from modelscope_plugin.linking.detection.protocol import Span
from modelscope_plugin.retrieval.entity_index import EntityIndex


def count_mentions(index: EntityIndex, documents: Iterable[Document]) -> dict[str, tuple[int, int]]:
    """Count how often names are mentions in texts, and keep the counts in the index (`Lexicon.link_counts`).

    Counts of earlier texts are replaced. The words of the mentions are counted like the names of the index.

    Args:
        index: The index.
        documents: Texts in which all mentions are labelled, with or without their entities; a name that is not among
            them counts as no mention. Several records of one text are one text.

    Returns:
        For each name that stands in a text, normalised, how often it stands there and how often it is a mention.
    """
    golds: dict[str, set[Span]] = {}
    for document in documents:
        golds.setdefault(document.text, set()).update((one.start, one.end) for one in document.mentions)
    surfaces = {normalized_name(text[start:end]): (1, 1) for text, spans in golds.items() for start, end in spans}
    # Names of any number of entities, whatever is detected later.
    detector = DictionaryDetector(
        index.lexicon.names, lambda row: index[row].names, max_bearers=max(len(index), 1), link_counts=surfaces
    )
    counts = count_links((list(detector.match_names(text)), spans) for text, spans in golds.items())
    index.lexicon.link_counts = counts
    return counts
