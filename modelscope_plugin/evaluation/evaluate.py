"""Measures how well a model and an index find the gold entities of mentions."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from modelscope_plugin.config.evaluation_settings import DEFAULT_KS, check_ks
from modelscope_plugin.data.golds import merge_golds
from modelscope_plugin.data.names import normalized_name, shared_names
from modelscope_plugin.data.records import Mention
from modelscope_plugin.encoding.protocol import Encoder
from modelscope_plugin.errors import InputError
from modelscope_plugin.evaluation.nil_figures import NilFigures, score_nil
from modelscope_plugin.evaluation.recall import find_first_hit, mean_reciprocal_rank, recall_at_k
from modelscope_plugin.linking.nil import NilRule, ranking_features
from modelscope_plugin.linking.reranking.protocol import Reranker
from modelscope_plugin.linking.reranking.second_step import SecondStep
from modelscope_plugin.retrieval.entity_index import EntityIndex
from modelscope_plugin.retrieval.retriever import Ranking, Retriever


@dataclass(frozen=True)
class Group:
    """Recall of a group of mentions.

    Attributes:
        mentions: Number of mentions in the group.
        recall: Share of them with a gold entity among the first k, by k.
    """

    mentions: int
    recall: dict[int, float]


@dataclass(frozen=True)
class Evaluation:
    """Figures of `evaluate`.

    Attributes:
        recall: Share of mentions with a gold entity among the first k, by k.
        mrr: Mean reciprocal rank of the first gold entity within the largest k.
        mentions: Number of mentions that recall is measured on.
        nil_mentions: Mentions left out because their label says that the knowledge base lacks their entity.
        unlabelled_mentions: Mentions left out because they have no label.
        unknown_gold: Measured mentions none of whose gold entities is in the index; they count as missed.
        entities: Size of the knowledge base.
        groups: Recall of groups of mentions: ``single_gold`` (exactly one gold entity) and, on request, ``seen`` and
            ``unseen`` (whether a gold entity was one in training), ``ambiguous`` and ``unambiguous`` (whether several
            entities have the mention's words as a name). A group without mentions is left out.
        nil: Figures of linking with NIL, over the mentions with gold entities and the NIL mentions; None if the index
            has no NIL rule for the retrieval or no mention has a NIL label.
        first_step: With a re-ranker: the figures of retrieval alone.
        first_hits: For each mention the rank of its first gold entity within the largest k, or None.
    """

    recall: dict[int, float]
    mrr: float
    mentions: int
    nil_mentions: int
    unlabelled_mentions: int
    unknown_gold: int
    entities: int
    groups: dict[str, Group]
    first_hits: tuple[int | None, ...] = field(repr=False)
    nil: NilFigures | None = None
    first_step: Evaluation | None = None

    @property
    def mean_recall(self) -> float:
        """The mean of recall over all k: the one number by which models are compared."""
        return sum(self.recall.values()) / len(self.recall)

    @property
    def curve(self) -> list[float]:
        """Recall at 1, 2, ... up to the largest k."""
        return list(recall_at_k(self.first_hits, range(1, max(self.recall) + 1)).values())

    def figures(self) -> dict[str, float]:
        """Recall by k and MRR: ``recall@4``, ..., ``mrr``."""
        return {f"recall@{k}": value for k, value in self.recall.items()} | {"mrr": self.mrr}

    def to_record(self) -> dict[str, Any]:
        """The figures as one flat JSON object: ``recall@4``, ``mrr``, ``mentions``, ``seen_recall@4`` ...

        With a re-ranker also the recall and MRR of retrieval alone: ``first_step_recall@4``, ``first_step_mrr``,
        ``first_step_seen_recall@4`` ...
        """
        record: dict[str, Any] = self.figures()
        record |= {"mentions": self.mentions, "entities": self.entities, "nil_mentions": self.nil_mentions}
        record |= {"unlabelled_mentions": self.unlabelled_mentions, "unknown_gold": self.unknown_gold}
        for name, group in self.groups.items():
            record[f"{name}_mentions"] = group.mentions
            record |= {f"{name}_recall@{k}": value for k, value in group.recall.items()}
        if self.first_step is not None:
            first = self.first_step.to_record()
            record |= {f"first_step_{key}": value for key, value in first.items() if "recall@" in key or key == "mrr"}
        return record | (self.nil.to_record() if self.nil else {})

    def __str__(self) -> str:
        return ", ".join(f"Recall@{k} {100 * value:.1f}" for k, value in self.recall.items())


def evaluate(
    encoder: Encoder,
    index: EntityIndex,
    mentions: Iterable[Mention],
    *,
    ks: Iterable[int] = DEFAULT_KS,
    seen: Collection[str] | None = None,
    by_ambiguity: bool = False,
    retrieval: str = "dense",
    nil_threshold: float | None = None,
    reranker: Reranker | None = None,
    rerank_top_k: int | None = None,
    batch_size: int | None = None,
    show_progress_bar: bool | None = None,
    exact: bool = True,
) -> Evaluation:
    """Measure recall over the whole knowledge base.

    Args:
        encoder: The dual encoder.
        index: Its index of the knowledge base.
        mentions: Mentions with gold entities; those without, and NIL mentions, are counted and left out of recall.
            Mentions of the same span in several records share their gold entities.
        ks: The values of k.
        seen: Ids of the gold entities of training, to measure entities seen and unseen there separately.
        by_ambiguity: Whether to measure mentions whose words name several entities separately; this reads the names
            of the whole knowledge base.
        retrieval: ``dense`` measures the model, ``lexical`` names alone, ``hybrid`` both together.
        nil_threshold: Replaces the threshold that was fitted for the index (`fit_nil`), 0 to 1.
        reranker: Orders the first candidates anew; the figures are those of its order, and those of retrieval alone
            are in `Evaluation.first_step`.
        rerank_top_k: Candidates of a mention that it reads; by default as in the shipped configuration.json.
        batch_size: Mentions in one forward pass; by default as many as suit the device.
        show_progress_bar: True, False, or None for a bar on a terminal only.
        exact: Whether to search exactly; False for the approximate search that the index was tuned to, if any.

    Returns:
        The figures.

    Raises:
        IndexMismatchError: If the index was built with another model.
        InputError: If no mention has a gold entity, or there is a NIL threshold and no rule was fitted.
    """
    index.check_model(encoder.fingerprint, encoder.name)
    given = merge_golds(mentions)
    labelled = [mention for mention in given if mention.entity_ids]
    if not labelled:
        raise InputError(f"none of the {len(given)} mentions has a gold entity; recall needs labelled mentions")
    ks = check_ks(ks)
    nil = [mention for mention in given if not mention.entity_ids and mention.nil is not None]
    second_step = None if reranker is None else SecondStep(reranker, index, retrieval, rerank_top_k)
    fingerprint = None if reranker is None else reranker.fingerprint
    rule = NilRule.of_index(index, retrieval, nil_threshold, fingerprint)
    measured = labelled + nil if rule else labelled
    retriever = Retriever(index, retrieval, exact=exact)
    queries = retriever.encode_mentions(encoder, measured, batch_size=batch_size, show_progress_bar=show_progress_bar)
    depth = max(ks) if second_step is None else max(*ks, second_step.top_k)
    rankings = list(retriever.rank(*queries, depth))
    score = partial(
        _score_rows,
        index=index,
        mentions=labelled,
        ks=ks,
        nil_mentions=len(nil),
        unlabelled_mentions=len(given) - len(labelled) - len(nil),
        seen=seen,
        ambiguous=shared_names(index) if by_ambiguity else None,
    )
    features: list[tuple[float, ...] | None]
    if second_step is None:
        evaluation, features = score(rankings), list(map(ranking_features, rankings))
    else:
        reranked = list(
            second_step.rank(measured, rankings, batch_size=batch_size, show_progress_bar=show_progress_bar)
        )
        evaluation, features = score([one.ranking for one in reranked]), [one.nil_features for one in reranked]
        evaluation, rankings = replace(evaluation, first_step=score(rankings)), [one.ranking for one in reranked]
    if rule is None:
        return evaluation
    best_ids = [index.ids[ranking.rows[0]] if len(ranking.rows) else None for ranking in rankings]
    predicted = list(map(rule.predicts_nil, features))
    return replace(evaluation, nil=score_nil(predicted, best_ids, measured, rule.threshold))


def _score_rows(
    rankings: Sequence[Ranking], *, index: EntityIndex, mentions: Sequence[Mention], **given: Any
) -> Evaluation:
    """Compute the figures of the rankings of the first mentions; those behind are of NIL mentions."""
    ids = index.ids
    found = [[ids[row] for row in ranking.rows.tolist()] for ranking in rankings[: len(mentions)]]
    return score_rankings(found, mentions, ids, **given)


def score_rankings(
    rankings: Sequence[Sequence[str]],
    mentions: Sequence[Mention],
    entity_ids: Sequence[str],
    ks: Iterable[int],
    *,
    nil_mentions: int = 0,
    unlabelled_mentions: int = 0,
    seen: Collection[str] | None = None,
    ambiguous: Collection[str] | None = None,
) -> Evaluation:
    """Compute the figures of rankings by any retriever.

    Args:
        rankings: For each mention the ids found, best first.
        mentions: The mentions, each with gold entities.
        entity_ids: Ids of the whole knowledge base.
        ks: The values of k.
        nil_mentions: Count to report.
        unlabelled_mentions: Count to report.
        seen: Ids of the gold entities of training.
        ambiguous: Normalised names that several entities have.

    Returns:
        The figures.
    """
    ks = check_ks(ks)
    known = set(entity_ids)
    hits = [
        find_first_hit(found[: max(ks)], mention.entity_ids) for found, mention in zip(rankings, mentions, strict=True)
    ]
    parts = {"single_gold": [len(mention.entity_ids) == 1 for mention in mentions]}
    if seen is not None:
        met = set(seen)
        parts["seen"] = [not met.isdisjoint(mention.entity_ids) for mention in mentions]
        parts["unseen"] = [not one for one in parts["seen"]]
    if ambiguous is not None:
        parts["ambiguous"] = [normalized_name(mention.surface) in ambiguous for mention in mentions]
        parts["unambiguous"] = [not one for one in parts["ambiguous"]]
    groups = {}
    for name, members in parts.items():
        part = [hit for hit, member in zip(hits, members, strict=True) if member]
        if part:
            groups[name] = Group(len(part), recall_at_k(part, ks))
    return Evaluation(
        recall=recall_at_k(hits, ks),
        mrr=mean_reciprocal_rank(hits),
        mentions=len(hits),
        nil_mentions=nil_mentions,
        unlabelled_mentions=unlabelled_mentions,
        unknown_gold=sum(known.isdisjoint(mention.entity_ids) for mention in mentions),
        entities=len(known),
        groups=groups,
        first_hits=tuple(hits),
    )
