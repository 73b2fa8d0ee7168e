"""How well a model and an index find the gold entities of mentions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from modelscope_plugin.data.records import Mention
from modelscope_plugin.encoding.encoder import DEFAULT_BATCH_SIZE, EntityEncoder
from modelscope_plugin.errors import InputError
from modelscope_plugin.index.entity_index import EntityIndex
from modelscope_plugin.metrics.recall import check_ks, first_hit, mean_reciprocal_rank, recall_at_k

DEFAULT_KS = (4, 16, 128)
"""The values of k in the model card."""

# Queries searched at once: their scores against the whole knowledge base have to fit in memory.
_CHUNK = 1024


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` measured.

    Attributes:
        recall: Share of mentions with a gold entity among the first k, by k.
        mrr: Mean reciprocal rank of the first gold entity within the largest k.
        mentions: How many mentions were measured.
        nil_mentions: Mentions left out because the knowledge base lacks their entity by their label.
        unlabelled_mentions: Mentions left out because they have no label.
        unknown_gold: Measured mentions none of whose gold entities is in the index; they count as missed.
        entities: Size of the knowledge base.
        single_gold_recall: Recall over the mentions with exactly one gold entity, by k.
        single_gold_mentions: How many these are.
    """

    recall: dict[int, float]
    mrr: float
    mentions: int
    nil_mentions: int
    unlabelled_mentions: int
    unknown_gold: int
    entities: int
    single_gold_recall: dict[int, float]
    single_gold_mentions: int

    def to_record(self) -> dict[str, Any]:
        """The figures as one flat JSON object: ``recall@4``, ``mrr``, ``mentions`` ..."""
        record: dict[str, Any] = {f"recall@{k}": value for k, value in self.recall.items()}
        record |= {"mrr": self.mrr, "mentions": self.mentions, "entities": self.entities}
        record |= {"nil_mentions": self.nil_mentions, "unlabelled_mentions": self.unlabelled_mentions}
        record |= {"unknown_gold": self.unknown_gold, "single_gold_mentions": self.single_gold_mentions}
        return record | {f"single_gold_recall@{k}": value for k, value in self.single_gold_recall.items()}


def evaluate(
    encoder: EntityEncoder,
    index: EntityIndex,
    mentions: Iterable[Mention],
    *,
    ks: Iterable[int] = DEFAULT_KS,
    batch_size: int = DEFAULT_BATCH_SIZE,
    show_progress_bar: bool | None = None,
) -> Evaluation:
    """Measure recall over the whole knowledge base.

    Args:
        encoder: The dual encoder.
        index: Its index of the knowledge base.
        mentions: Mentions with gold entities; those without, and NIL mentions, are counted and left out.
        ks: The values of k.
        batch_size: Mentions in one forward pass.
        show_progress_bar: True, False, or None for a bar on a terminal only.

    Returns:
        The figures.

    Raises:
        IndexMismatchError: If the index was built with another model.
        InputError: If no mention has a gold entity.
    """
    index.check_model(encoder.fingerprint, encoder.name)
    given = list(mentions)
    labelled = [mention for mention in given if mention.entity_ids]
    if not labelled:
        raise InputError(f"none of the {len(given)} mentions has a gold entity; recall needs labelled mentions")
    vectors = encoder.encode_query(labelled, batch_size=batch_size, show_progress_bar=show_progress_bar)
    rankings: list[list[str]] = []
    ks = check_ks(ks)
    for start in range(0, len(vectors), _CHUNK):
        _, rows = index.search_rows(vectors[start : start + _CHUNK], max(ks))
        rankings += [[index.ids[row] for row in found] for found in rows.tolist()]
    nil = sum(mention.nil is not None for mention in given)
    return score_rankings(
        rankings, labelled, index.ids, ks, nil_mentions=nil, unlabelled_mentions=len(given) - len(labelled) - nil
    )


def score_rankings(
    rankings: Sequence[Sequence[str]],
    mentions: Sequence[Mention],
    entity_ids: Sequence[str],
    ks: Iterable[int],
    *,
    nil_mentions: int = 0,
    unlabelled_mentions: int = 0,
) -> Evaluation:
    """Turn rankings of any retriever into figures.

    Args:
        rankings: For each mention the ids found, best first.
        mentions: The mentions, each with gold entities.
        entity_ids: Ids of the whole knowledge base.
        ks: The values of k.
        nil_mentions: Count to report.
        unlabelled_mentions: Count to report.

    Returns:
        The figures.
    """
    ks = check_ks(ks)
    known = set(entity_ids)
    hits = [first_hit(found[: max(ks)], mention.entity_ids) for found, mention in zip(rankings, mentions, strict=True)]
    single = [hit for hit, mention in zip(hits, mentions, strict=True) if len(mention.entity_ids) == 1]
    return Evaluation(
        recall=recall_at_k(hits, ks),
        mrr=mean_reciprocal_rank(hits),
        mentions=len(hits),
        nil_mentions=nil_mentions,
        unlabelled_mentions=unlabelled_mentions,
        unknown_gold=sum(known.isdisjoint(mention.entity_ids) for mention in mentions),
        entities=len(known),
        single_gold_recall=recall_at_k(single, ks) if single else {},
        single_gold_mentions=len(single),
    )
