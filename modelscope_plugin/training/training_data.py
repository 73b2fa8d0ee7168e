"""The data of a training run, checked before any step is trained."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from modelscope_plugin.data.checksum import Checksum
from modelscope_plugin.data.golds import merge_golds
from modelscope_plugin.data.kb_mentions import mentions_of_entity
from modelscope_plugin.data.records import Entity, Mention
from modelscope_plugin.errors import InputError
from modelscope_plugin.modeling.tokenization import EntityTokenizer
from modelscope_plugin.training.context import RunContext, TrainingContext
from modelscope_plugin.training.examples import Examples

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingData:
    """The data of a run.

    Attributes:
        mentions: The training mentions, those made from the knowledge base included.
        gold_ids: Gold entities of the mentions that were given.
        entity_count: Size of the knowledge base.
        examples: The examples of stage one.
        record: Counts and checksums, for the record of the run.
    """

    mentions: list[Mention]
    gold_ids: set[str]
    entity_count: int
    examples: Examples
    record: dict[str, Any]


def read_training_data(
    context: TrainingContext, tokenizer: EntityTokenizer, mentions: Iterable[Mention]
) -> TrainingData:
    """Read mentions and knowledge base, refuse what does not fit together, and make the examples of stage one."""
    settings = context.settings
    given = merge_golds(mentions)
    gold_ids = {one for mention in given for one in mention.entity_ids}
    if settings.kb_mentions:
        given += merge_golds(
            mention
            for entity in context.read_entities()
            for mention in mentions_of_entity(entity, settings.kb_mentions, settings.seed)
        )
    entity_sum, train_sum, eval_sum = Checksum(), Checksum(), Checksum()
    wanted = context.eval_entity_ids
    known: set[str] = set()

    def note_known(entities: Iterable[Entity]) -> Iterator[Entity]:
        for entity in entities:
            if entity.id in wanted:
                known.add(entity.id)
            yield entity

    entities = note_known(entity_sum.over(context.read_entities()))
    examples = make_examples(context, tokenizer, train_sum.over(given), entities)
    for _ in eval_sum.over(context.eval_mentions or ()):
        pass
    check_eval_entities(context, wanted, known)
    _report_examples(context, examples)
    record = {
        "knowledge_base": entity_sum.to_record(),
        "train": {**train_sum.to_record(), **examples.counts},
        "eval": None if context.eval_mentions is None else eval_sum.to_record(),
    }
    return TrainingData(given, gold_ids, entity_sum.count, examples, record)


def make_examples(
    context: TrainingContext,
    tokenizer: EntityTokenizer,
    mentions: Iterable[Mention],
    entities: Iterable[Entity] | None = None,
) -> Examples:
    """Make examples of mentions and, unless other ``entities`` are given, the knowledge base of the run."""
    settings = context.settings
    return Examples(
        context.read_entities() if entities is None else entities,
        mentions,
        tokenizer,
        skip_unknown=settings.skip_unknown,
        whole=settings.random_negatives > 0,
        views=settings.views,
    )


def check_eval_entities(context: RunContext, wanted: set[str], known: set[str]) -> None:
    """Refuse a wrong knowledge base now; evaluation would find it out after training."""
    missing = wanted - known
    if wanted and not known:
        raise InputError(
            f"the knowledge base lacks every gold entity of the evaluation mentions ({min(missing)!r}, for one); "
            "check that both files belong together"
        )
    if missing:
        context.processes.log(
            logger, logging.WARNING,
            "the knowledge base lacks %d of %d gold entities of the evaluation mentions (%r, for one); their "
            "mentions count as missed",
            len(missing), len(wanted), min(missing),
        )  # fmt: skip


def _report_examples(context: TrainingContext, examples: Examples) -> None:
    """Log what is trained on, and warn where it is less than the settings ask for."""
    batch, counts = context.settings.batch_size * context.processes.size, examples.counts
    context.processes.log(
        logger,
        logging.WARNING if counts["unknown"] else logging.INFO,
        "training on %d mentions of %d entities; left out: %d NIL, %d unlabelled, %d of unknown entities",
        *(counts[name] for name in ("mentions", "entities", "nil", "unlabelled", "unknown")),
    )
    if len(examples) < batch:
        context.processes.log(
            logger, logging.WARNING,
            "a batch of %d is more than the %d training mentions; one batch holds all", batch, len(examples),
        )  # fmt: skip
