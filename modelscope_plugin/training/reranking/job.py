"""What a training run does for a re-ranker: candidates of the first step, then one stage on lists of them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from modelscope_plugin.config.reranking_settings import RerankingSettings
from modelscope_plugin.data.checksum import Checksum
from modelscope_plugin.data.entity_text import entity_text
from modelscope_plugin.data.golds import merge_golds
from modelscope_plugin.data.identity import check_unique_ids
from modelscope_plugin.data.kb_mentions import mentions_of_entity
from modelscope_plugin.data.records import Entity, Mention
from modelscope_plugin.encoding.encoder import EntityEncoder
from modelscope_plugin.errors import TrainingError
from modelscope_plugin.retrieval.entity_index import EntityIndex
from modelscope_plugin.training.context import RunContext
from modelscope_plugin.training.examples import check_known
from modelscope_plugin.training.reranking.candidate_lists import CandidateLists
from modelscope_plugin.training.reranking.first_step import (
    rank_candidates,
    read_candidates,
    write_candidates,
)
from modelscope_plugin.training.reranking.scorers import load_scorer
from modelscope_plugin.training.reranking.stage import RankedMentions, RerankerStage
from modelscope_plugin.training.run_folder import RunFolder
from modelscope_plugin.training.stage_trainer import StageTrainer
from modelscope_plugin.training.training_data import check_eval_entities

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FirstStep:
    """The first step, whose candidates are ranked anew.

    Attributes:
        encoder: The dual encoder.
        open_index: Builds or opens its index of the knowledge base; called by the main process alone, and only where
            the candidates are not on disk yet.
        origin: What the record says of it.
    """

    encoder: EntityEncoder
    open_index: Callable[[], EntityIndex]
    origin: dict[str, Any]


class RerankerJob:
    """Trains a re-ranker; see `TrainingJob`.

    Args:
        context: What the run is given.
        settings: How to train.
        first_step: The first step.
        mentions: The training mentions.
    """

    stages = 1

    def __init__(
        self, context: RunContext, settings: RerankingSettings, first_step: FirstStep, mentions: Iterable[Mention]
    ) -> None:
        self._context, self._settings, self._first_step = context, settings, first_step
        self._processes = context.processes
        self._given = mentions

    @property
    def weights_size(self) -> int:
        """Bytes of the weights."""
        return sum(p.numel() * p.element_size() for p in self._scorer.model.parameters())

    def prepare(self) -> dict[str, Any]:
        """Load the base checkpoint and read the data; all that decides the weights."""
        context, settings = self._context, self._settings
        self._scorer = load_scorer(context.base, settings, self._processes.device)
        given = merge_golds(self._given)
        if settings.kb_mentions:
            given += merge_golds(
                mention
                for entity in context.read_entities()
                for mention in mentions_of_entity(entity, settings.kb_mentions, settings.seed)
            )
        entity_sum, train_sum, eval_sum = Checksum(), Checksum(), Checksum()
        self._ids = [entity.id for entity in check_unique_ids(entity_sum.over(context.read_entities()))]
        self._mentions = self._choose_mentions(list(train_sum.over(given)))
        eval_mentions = merge_golds(eval_sum.over(context.eval_mentions or ()))
        self._eval_mentions = [one for one in eval_mentions if one.entity_ids]
        wanted = context.eval_entity_ids
        check_eval_entities(context, wanted, wanted.intersection(self._ids))
        golds = {one for mention in self._mentions for one in mention.entity_ids}
        return {
            "base_model": self._scorer.fingerprint,
            "settings": asdict(settings),
            "first_step": self._first_step.origin,
            "ks": context.ks,
            "data": {
                "knowledge_base": entity_sum.to_record(),
                "train": {
                    **train_sum.to_record(),
                    "mentions": len(self._mentions),
                    "entities": len(golds.intersection(self._ids)),
                    **self._left_out,
                },
                "eval": None if context.eval_mentions is None else eval_sum.to_record(),
            },
        }

    def train_stages(self, folder: RunFolder) -> None:
        """Rank the candidates where that is not done yet, and train."""
        if folder.stages:
            return
        self._processes.run_on_main(lambda: self._rank(folder))
        candidates = read_candidates(folder.files.candidates("train"), len(self._mentions))
        ranked = read_candidates(folder.files.candidates("dev"), len(self._eval_mentions))
        entities = self._read_entities(candidates, ranked)
        settings = self._settings
        lists = CandidateLists(
            self._mentions,
            candidates,
            {one: entity_text(entity) for one, entity in entities.items()},
            batch_size=settings.batch_size * self._processes.size,
            list_size=settings.list_size,
            range_max=settings.range_max,
            seed=settings.seed,
        )
        if not lists.mentions:
            raise TrainingError("the first step finds no candidate but gold entities; there is nothing to re-rank")
        measured, figures = None, {}
        if self._context.eval_mentions is not None:
            seen = {one for mention in self._mentions for one in mention.entity_ids}
            measured = RankedMentions(self._eval_mentions, ranked, entities, self._ids, seen)
            evaluation = measured.measure(ranked, self._context.ks)
            self._processes.log(logger, logging.INFO, "first step: %s", evaluation)
            figures = evaluation.to_record()
        report = {"mentions": lists.mentions, "negatives": lists.negatives, "first_step": figures or None}
        stage = RerankerStage(self._scorer, lists, settings, self._context, measured)
        StageTrainer(self._context, folder).train(1, stage, report)

    def _choose_mentions(self, given: Sequence[Mention]) -> list[Mention]:
        """The mentions with a gold entity in the knowledge base; what is left out is counted."""
        known = set(self._ids)
        labelled = [mention for mention in given if mention.entity_ids]
        usable = [mention for mention in labelled if not known.isdisjoint(mention.entity_ids)]
        if not usable:
            raise TrainingError(
                f"none of the {len(given)} training mentions has a gold entity in the knowledge base; check that both "
                "files belong together"
            )
        if not self._settings.skip_unknown:
            check_known(labelled, known)
        nil = sum(mention.nil is not None for mention in given if not mention.entity_ids)
        self._left_out = {
            "nil": nil,
            "unlabelled": len(given) - len(labelled) - nil,
            "unknown": len(labelled) - len(usable),
        }
        return usable

    def _rank(self, folder: RunFolder) -> None:
        """Write the candidates of all mentions, unless that was done before the run was interrupted."""
        most_golds = max(len(mention.entity_ids) for mention in self._mentions)
        depth = max(self._settings.rerank_top_k, *self._context.ks)
        work = (
            ("train", self._mentions, self._settings.range_max + most_golds),
            ("dev", self._eval_mentions, depth),
        )  # fmt: skip
        missing = [one for one in work if not folder.files.candidates(one[0]).exists()]
        index = self._first_step.open_index() if missing else None
        for name, mentions, limit in missing:
            assert index is not None
            found = rank_candidates(self._first_step.encoder, index, mentions, limit, self._context.show_progress_bar)
            write_candidates(folder.files.candidates(name), found)

    def _read_entities(self, *candidates: Sequence[Sequence[str]]) -> dict[str, Entity]:
        """All candidates and gold entities by id."""
        ranked = {one for lists in candidates for ids in lists for one in ids}
        wanted = ranked.union(one for mention in self._mentions for one in mention.entity_ids)
        found = {entity.id: entity for entity in self._context.read_entities() if entity.id in wanted}
        if missing := ranked.difference(found):
            raise TrainingError(
                f"the knowledge base no longer holds the candidate {min(missing)!r}; leave it as it was until training "
                "ends, or delete the run and start anew"
            )
        return found
