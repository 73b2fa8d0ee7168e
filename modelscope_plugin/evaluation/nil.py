"""How well a rule tells the mentions that have no entity."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from modelscope_plugin.data.golds import with_all_golds
from modelscope_plugin.data.records import Mention
from modelscope_plugin.encoding.encoder import EntityEncoder
from modelscope_plugin.linking.nil import NilRule, fit_nil_rule, ranking_features
from modelscope_plugin.retrieval.entity_index import EntityIndex
from modelscope_plugin.retrieval.retriever import Ranking, Retriever


@dataclass(frozen=True)
class NilFigures:
    """Figures of linking with NIL.

    Attributes:
        accuracy: Share of mentions whose best candidate is right, or that are rightly said to have no entity.
        precision: Share of NIL mentions among those said to be NIL; 0 where none is.
        recall: Share of the NIL mentions that are said to be NIL.
        f1: Harmonic mean of the two.
        threshold: The threshold in force.
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
    said: Sequence[bool], best: Sequence[str | None], mentions: Sequence[Mention], threshold: float
) -> NilFigures | None:
    """Compare what is said with the labels.

    Args:
        said: For each mention whether it is said to have no entity.
        best: For each mention the id of its best candidate, None where it has none.
        mentions: The mentions, each with gold entities or a NIL label.
        threshold: The threshold to report.

    Returns:
        The figures; None where no mention has a NIL label.
    """
    labels = Counter(mention.nil for mention in mentions if mention.nil is not None)
    if not labels:
        return None
    met: Counter[str] = Counter()
    right = 0
    for nil, found, mention in zip(said, best, mentions, strict=True):
        if mention.nil is not None:
            met[mention.nil] += nil
            right += nil
        else:
            right += not nil and found in mention.entity_ids
    hits = met.total()
    precision, recall = hits / sum(said) if any(said) else 0.0, hits / labels.total()
    return NilFigures(
        accuracy=right / len(mentions),
        precision=precision,
        recall=recall,
        f1=2 * precision * recall / (precision + recall) if hits else 0.0,
        threshold=threshold,
        recall_by_type={label: met[label] / labels[label] for label in sorted(labels)},
    )


def judge_rankings(
    rankings: Sequence[Ranking], mentions: Sequence[Mention], entity_ids: Sequence[str], rule: NilRule
) -> NilFigures | None:
    """Apply a rule to rankings and compare with the labels; see `score_nil`."""
    features = [ranking_features(ranking) for ranking in rankings]
    said = [one is None or rule.confidence(one) < rule.threshold for one in features]
    best = [entity_ids[ranking.rows[0]] if len(ranking.rows) else None for ranking in rankings]
    return score_nil(said, best, mentions, rule.threshold)


def fit_nil(
    encoder: EntityEncoder,
    index: EntityIndex,
    mentions: Iterable[Mention],
    *,
    retrieval: str = "dense",
    precision: float | None = None,
    batch_size: int | None = None,
    show_progress_bar: bool | None = None,
) -> NilRule:
    """Fit the NIL rule of an index on labelled mentions and keep it in the index (`EntityIndex.fitted`).

    Args:
        encoder: The dual encoder.
        index: Its index of the knowledge base; `EntityIndex.save_fitted` writes the rule into its folder.
        mentions: Mentions with gold entities or NIL labels; others are passed over.
        retrieval: The retrieval to fit for; the rule holds for no other, and linking is ``hybrid`` by default.
        precision: The precision of saying NIL that is wanted, 0 to 1; None for the best F1.
        batch_size: Mentions in one forward pass.
        show_progress_bar: True, False, or None for a bar on a terminal only.

    Returns:
        The rule.

    Raises:
        IndexMismatchError: If the index was built with another model.
        InputError: If there are not both kinds of mentions, or the precision is reached nowhere.
    """
    index.check_model(encoder.fingerprint, encoder.name)
    given = [mention for mention in with_all_golds(mentions) if mention.entity_ids or mention.nil is not None]
    retriever = Retriever(index, retrieval)
    vectors = None
    if retriever.needs_vectors:
        vectors = encoder.encode_query(given, batch_size=batch_size, show_progress_bar=show_progress_bar)
    rankings = retriever.rank(vectors, [mention.surface for mention in given], 1)
    features = [ranking_features(ranking) for ranking in rankings]
    rule = fit_nil_rule(features, [mention.nil is not None for mention in given], retrieval, precision=precision)
    rule.keep(index)
    return rule
