"""The detectors that users may name or pass: the names of the index, a function, a ModelScope pipeline."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from modelscope_plugin.errors import InputError, InputTypeError
from modelscope_plugin.linking.detection.protocol import Detector, Span
from modelscope_plugin.linking.detection.spans import check_results, read_spans
from modelscope_plugin.linking.detection.windows import join_spans, window_starts
from modelscope_plugin.retrieval.entity_index import EntityIndex
from modelscope_plugin.retrieval.lexical import AliasIndex

if TYPE_CHECKING:  # built when it is first needed
    from modelscope_plugin.linking.detection.dictionary import DictionaryDetector


@dataclass(frozen=True)
class DictionaryOptions:
    """The detector that finds the names of the index, with options; ``dictionary`` alone stands for the default ones.

    Attributes:
        max_bearers: The most entities that may bear a name for it to be found; by default what
            ``pipeline.max_bearers`` in the shipped configuration.json says.
    """

    max_bearers: int | None = None


DetectorLike: TypeAlias = str | DictionaryOptions | Detector | Callable[[str], Any]
"""What users may pass as ``detector=``; see `make_detector`."""

DICTIONARY = "dictionary"
"""Name of the detector that finds the names of the index."""

# Characters of the windows that a ModelScope pipeline gets, few enough for 512 tokens.
_WINDOW, _OVERLAP = 384, 128


def make_detector(detector: DetectorLike | None, entities: EntityIndex) -> Detector | None:
    """Make a detector of what a user passes as ``detector=``.

    Args:
        detector: ``dictionary`` or `DictionaryOptions` for the names of the index; an object with a method ``detect``
            (see `Detector`); a ModelScope pipeline for named-entity recognition; a function from one text to its spans;
            None for none. Pipelines and functions may return any form that `read_spans` reads.
        entities: The index.

    Returns:
        The detector.

    Raises:
        InputError: If it is another word, or a package is missing.
        InputTypeError: If it is none of these.
    """
    if detector is None:
        return None
    if isinstance(detector, str) and detector == DICTIONARY:
        detector = DictionaryOptions()
    if isinstance(detector, DictionaryOptions):
        return _IndexDetector(entities, detector)
    if isinstance(detector, Detector) and not isinstance(detector, type):
        return detector
    if _is_pipeline(detector):
        return _PipelineDetector(detector)
    if callable(detector):
        return _FunctionDetector(detector)
    kind = InputError if isinstance(detector, str) else InputTypeError
    raise kind(
        f"unknown detector={detector!r}; give {DICTIONARY!r}, a function from a text to spans, a ModelScope pipeline "
        "for named-entity recognition, or an object with a method detect(texts)"
    )


def _is_pipeline(detector: object) -> bool:
    """True if it is a ModelScope pipeline; without importing ModelScope, for else there can be none."""
    module = sys.modules.get("modelscope.pipelines.base")
    return module is not None and isinstance(detector, module.Pipeline)


class _FunctionDetector:
    """Calls a function of one text for each text."""

    def __init__(self, function: Callable[[str], Any]) -> None:
        self._function = function

    def detect(self, texts: Sequence[str]) -> list[list[Span]]:
        return [read_spans(self._function(text), text) for text in texts]


class _PipelineDetector:
    """Calls a ModelScope pipeline with the windows of all texts: it loses what stands behind some 510 characters."""

    def __init__(self, pipeline: Any) -> None:
        self._pipeline = pipeline

    def detect(self, texts: Sequence[str]) -> list[list[Span]]:
        starts = [window_starts(len(text), _WINDOW, _OVERLAP) for text in texts]
        windows = [text[one : one + _WINDOW] for text, begins in zip(texts, starts, strict=True) for one in begins]
        # Without blank ones, on which ModelScope's pipelines fail; and without batch_size, because they cannot put
        # texts of several lengths into one batch.
        given = [window for window in windows if window.strip()]
        answers = iter(check_results(self._pipeline(given), given) if given else ())
        found = iter([read_spans(next(answers), window) if window.strip() else [] for window in windows])
        return [join_spans([next(found) for _ in begins], begins, _OVERLAP) for begins in starts]


class _IndexDetector:
    """Finds the names of an index; builds its dictionary again after what it knows of names has changed.

    Threads can share it; a change of the index waits until texts under way are done.
    """

    def __init__(self, entities: EntityIndex, options: DictionaryOptions) -> None:
        self._entities = entities
        self._options = options
        with entities.guard.read():
            self._made = self._make()

    def _make(self) -> _Made:
        from modelscope_plugin.linking.detection.dictionary import DictionaryDetector

        lexicon, threshold = self._entities.lexicon, self._entities.fitted.detection_threshold
        names, counts = lexicon.names, lexicon.link_counts
        detector = DictionaryDetector(
            names,
            lambda row: self._entities[row].names,
            max_bearers=self._options.max_bearers,
            link_counts=counts,
            threshold=threshold,
        )
        return _Made(names, counts, threshold, detector)

    def detect(self, texts: Sequence[str]) -> list[list[Span]]:
        with self._entities.guard.read():
            lexicon, made = self._entities.lexicon, self._made
            same = lexicon.names is made.names and lexicon.link_counts is made.counts
            if not same or self._entities.fitted.detection_threshold != made.threshold:
                made = self._made = self._make()
            return made.detector.detect(texts)


class _Made(NamedTuple):
    """A dictionary, and what it was built of."""

    names: AliasIndex
    counts: Mapping[str, tuple[int, int]]
    threshold: float | None
    detector: DictionaryDetector
