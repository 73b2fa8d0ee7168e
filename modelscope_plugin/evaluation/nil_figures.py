"""Measures how well a rule predicts which mentions have no entity (NIL)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from modelscope_plugin.data.records import Mention


@dataclass(frozen=True)
class NilFigures:
    """Figures of linking with NIL, each 0 to 1.

    Attributes:
        accuracy: Share of all mentions that are linked correctly: to a gold entity, or to none if they are NIL.
        precision: Share of NIL mentions among those predicted NIL; 0 if none is predicted.
        recall: Share of the NIL mentions that are predicted NIL.
        f1: Harmonic mean of precision and recall.
        threshold: The threshold that was used.
        recall_by_type: Recall by label (``NIL``, ``NIL_Person``, ...).
    """

    accuracy: float
    precision: float
    recall: float
    f1: float
    threshold: float
    recall_by_type: dict[str, float]

    def to_record(self) -> dict[str, Any]:
        """The figures as one flat JSON object: ``nil_accuracy``, ``nil_f1``, ``nil_recall_NIL_Person`` ..."""
        names = ("accuracy", "precision", "recall", "f1", "threshold")
        record = {f"nil_{name}": getattr(self, name) for name in names}
        return record | {f"nil_recall_{label}": value for label, value in self.recall_by_type.items()}


def score_nil(
    predicted: Sequence[bool], best_ids: Sequence[str | None], mentions: Sequence[Mention], threshold: float
) -> NilFigures | None:
    """Compare predictions with the labels.

    Args:
        predicted: For each mention whether it is predicted NIL.
        best_ids: For each mention the id of its best candidate, None if it has none.
        mentions: The mentions, each with gold entities or a NIL label.
        threshold: The threshold to report.

    Returns:
        The figures; None if no mention has a NIL label.
    """
    labels = Counter(mention.nil for mention in mentions if mention.nil is not None)
    if not labels:
        return None
    hits_by_type: Counter[str] = Counter()
    correct = 0
    for nil, best_id, mention in zip(predicted, best_ids, mentions, strict=True):
        if mention.nil is not None:
            hits_by_type[mention.nil] += nil
            correct += nil
        else:
            correct += not nil and best_id in mention.entity_ids
    hits = hits_by_type.total()
    precision, recall = hits / sum(predicted) if any(predicted) else 0.0, hits / labels.total()
    return NilFigures(
        accuracy=correct / len(mentions),
        precision=precision,
        recall=recall,
        f1=2 * precision * recall / (precision + recall) if hits else 0.0,
        threshold=threshold,
        recall_by_type={label: hits_by_type[label] / labels[label] for label in sorted(labels)},
    )
