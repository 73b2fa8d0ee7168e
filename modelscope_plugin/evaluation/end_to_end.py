"""Measures raw text in, linked entities out: which mentions are found, and which are linked to the right entity."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from modelscope_plugin.data.records import Mention


class Prediction(NamedTuple):
    """A mention that was found in a text.

    Attributes:
        start: Offset of its first character.
        end: Offset just behind its last character.
        entity_id: The entity it is linked to; None for NIL.
    """

    start: int
    end: int
    entity_id: str | None


@dataclass(frozen=True)
class SpanFigures:
    """Figures over the mentions of all texts (micro averages), each 0 to 1 but the counts.

    Attributes:
        precision: Share of those predicted that are right; 0 if none is predicted.
        recall: Share of the gold ones that are predicted; 0 if there is none.
        f1: Harmonic mean of both.
        predicted: How many are predicted.
        gold: How many there are.
        correct: How many of the predicted are right.
    """

    precision: float
    recall: float
    f1: float
    predicted: int
    gold: int
    correct: int

    @classmethod
    def of_counts(cls, correct: int, predicted: int, gold: int) -> SpanFigures:
        """The figures that follow from three counts."""
        precision, recall = correct / max(predicted, 1), correct / max(gold, 1)
        f1 = 2 * precision * recall / (precision + recall) if correct else 0.0
        return cls(precision, recall, f1, predicted, gold, correct)


@dataclass(frozen=True)
class EndToEnd:
    """Figures of detecting and linking; a mention counts only where its span is exactly that of the gold mention.

    Attributes:
        mentions: Whether mentions are found, whatever they are linked to.
        linked: Whether mentions with an entity are found and linked to it; NIL mentions and NIL predictions are left
            out, as in the shared task of CCKS 2019.
        linked_with_nil: The same with NIL as one more entity.
        seen: Recall of the mentions whose words stood for a mention in training; None if that is not known.
        unseen: Recall of the others.
    """

    mentions: SpanFigures
    linked: SpanFigures
    linked_with_nil: SpanFigures
    seen: float | None = None
    unseen: float | None = None

    def to_record(self) -> dict[str, Any]:
        """The figures as a JSON object, without what is not known."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def score_end_to_end(
    predictions: Iterable[Sequence[Prediction]],
    golds: Iterable[Sequence[Mention]],
    *,
    seen_surfaces: Collection[str] | None = None,
) -> EndToEnd:
    """Compare the mentions predicted in texts with the labelled ones.

    Args:
        predictions: For each text what was predicted.
        golds: For each text its mentions. One with several gold entities is linked right to any of them; one without
            is NIL. Several records of one span are one mention.
        seen_surfaces: Words of the mentions of training, to tell seen and unseen mentions apart.

    Returns:
        The figures.
    """
    counts = {name: [0, 0, 0] for name in ("mentions", "linked", "with_nil", "seen", "unseen")}

    def count(name: str, correct: int, predicted: int, gold: int) -> None:
        for position, number in enumerate((correct, predicted, gold)):
            counts[name][position] += number

    for found, mentions in zip(predictions, golds, strict=True):
        gold: dict[tuple[int, int], set[str]] = {}
        for mention in mentions:
            gold.setdefault((mention.start, mention.end), set()).update(mention.entity_ids)
        # Of several predictions of one span, the first counts.
        linked = {(one.start, one.end): one.entity_id for one in reversed(found)}
        right = {span for span in linked.keys() & gold.keys() if _is_right(linked[span], gold[span])}
        with_entity = {span for span, ids in gold.items() if ids}
        count("mentions", len(linked.keys() & gold.keys()), len(linked), len(gold))
        predicted = sum(entity_id is not None for entity_id in linked.values())
        count("linked", len(right & with_entity), predicted, len(with_entity))
        count("with_nil", len(right), len(linked), len(gold))
        for mention in {(one.start, one.end): one for one in mentions}.values():
            part = "seen" if mention.surface in (seen_surfaces or ()) else "unseen"
            count(part, (mention.start, mention.end) in linked, 0, 1)
    figures = {name: SpanFigures.of_counts(*numbers) for name, numbers in counts.items()}
    known = seen_surfaces is not None
    return EndToEnd(
        figures["mentions"],
        figures["linked"],
        figures["with_nil"],
        figures["seen"].recall if known else None,
        figures["unseen"].recall if known else None,
    )


def _is_right(entity_id: str | None, golds: Collection[str]) -> bool:
    return not golds if entity_id is None else entity_id in golds
