"""The one stage of a re-ranker: loss over lists of candidates, its model folder, recall of the order it gives."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from modelscope_plugin.config.reranking_settings import RerankingSettings
from modelscope_plugin.data.records import Entity, Mention
from modelscope_plugin.evaluation.evaluate import Evaluation, score_rankings
from modelscope_plugin.training.context import RunContext
from modelscope_plugin.training.optimization import autocast
from modelscope_plugin.training.process_group import ProcessGroup
from modelscope_plugin.training.reranking.candidate_lists import CandidateLists, ListBatch
from modelscope_plugin.training.reranking.losses import LOSSES, guessing_loss
from modelscope_plugin.training.reranking.scorers import TrainableScorer

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RankedMentions:
    """Mentions with the candidates of the first step, to measure recall on.

    Attributes:
        mentions: The mentions, each with gold entities.
        candidates: For each of them the ids of its candidates, best first.
        entities: Entities by id, of all candidates.
        entity_ids: Ids of the whole knowledge base.
        seen: Ids of the gold entities of training.
    """

    mentions: Sequence[Mention]
    candidates: Sequence[Sequence[str]]
    entities: Mapping[str, Entity]
    entity_ids: Sequence[str]
    seen: set[str]

    def measure(self, rankings: Sequence[Sequence[str]], ks: Sequence[int]) -> Evaluation:
        """Measure recall of rankings of these candidates."""
        return score_rankings(rankings, self.mentions, self.entity_ids, ks, seen=self.seen)


class ListObjective:
    """Lists of candidates and the loss over them; see `Objective`.

    The processes that train together take a share of the mentions of a batch each.

    Args:
        scorer: The re-ranker.
        lists: The lists to train on.
        settings: How to train.
        processes: The processes that train together.
    """

    def __init__(
        self, scorer: TrainableScorer, lists: CandidateLists, settings: RerankingSettings, processes: ProcessGroup
    ) -> None:
        self._scorer, self._lists, self._settings, self._processes = scorer, lists, settings, processes
        self._loss = LOSSES[settings.loss]

    @property
    def model(self) -> torch.nn.Module:
        """The model, on the device of this process."""
        return self._scorer.model

    def __len__(self) -> int:
        return len(self._lists)

    def epoch(self, number: int, start: int) -> Iterator[ListBatch]:
        """Make the batches of an epoch."""
        return self._lists.epoch(number, start)

    def backward(self, batch: ListBatch, scale: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        """Add the gradient of this process's share of a batch; the mean loss of all mentions."""
        count = len(batch.mentions)
        own = list(self._processes.share(count))
        losses = [torch.zeros(0, device=self._processes.device)]
        size = self._settings.mini_batch_size or max(1, len(own))
        for start in range(0, len(own), size):
            part = own[start : start + size]
            loss = self._loss(self._score(batch, part))
            total = loss.sum() / count
            torch.autograd.backward(total, scale(torch.ones_like(total)))
            losses.append(loss.detach())
        return self._processes.gather_vectors(torch.cat(losses)[:, None], count).mean()

    def _score(self, batch: ListBatch, rows: Sequence[int]) -> torch.Tensor:
        """Score the lists of some mentions, reading only the texts that are in them."""
        positions: dict[int, int] = {}
        lists = [[positions.setdefault(one, len(positions)) for one in batch.lists[row]] for row in rows]
        with autocast(self._settings.mixed_precision, self._processes.device):
            return self._scorer.score(
                [batch.mentions[row] for row in rows], [batch.texts[one] for one in positions], lists
            )

    def guessing_loss(self, batch: ListBatch) -> float:
        """The loss of a model that scores all candidates alike."""
        return guessing_loss(self._settings.loss, list(map(len, batch.lists)))


class RerankerStage:
    """A re-ranker in training; see `StageModel`.

    Args:
        scorer: The re-ranker.
        lists: The lists to train on.
        settings: How to train.
        context: The run.
        ranked: Mentions to measure recall on; None for no evaluation.
    """

    def __init__(
        self,
        scorer: TrainableScorer,
        lists: CandidateLists,
        settings: RerankingSettings,
        context: RunContext,
        ranked: RankedMentions | None,
    ) -> None:
        self.objective = ListObjective(scorer, lists, settings, context.processes)
        self._scorer, self._context, self._ranked = scorer, context, ranked
        self._configured = self.settings = settings
        if ranked is not None and not settings.eval_steps:
            epoch_steps = -(-len(lists) // settings.gradient_accumulation_steps)
            self.settings = replace(settings, eval_steps=epoch_steps)

    def write_folder(self, folder: Path) -> None:
        """Write the model folder, with the settings of the run in its configuration.json."""
        self._scorer.write_folder(folder, self._configured.to_sections())

    def evaluate_sample(self) -> Evaluation:
        """Measure recall of the order that the re-ranker alone gives to the first candidates of the first step."""
        ranked = self._ranked
        assert ranked is not None  # the settings have eval_steps
        return ranked.measure(self._rerank(ranked), self._context.ks)

    def evaluate_folder(self, folder: Path, step: int) -> Evaluation | None:
        """Measure recall once more, after the best weights are back; None without evaluation mentions."""
        if self._ranked is None:
            return None
        evaluation = self.evaluate_sample()
        logger.info("re-ranked: %s", evaluation)
        return evaluation

    def _rerank(self, ranked: RankedMentions) -> list[list[str]]:
        """Order the first candidates anew, by the score and then as before; the others stay behind them."""
        firsts = [candidates[: self.settings.rerank_top_k] for candidates in ranked.candidates]
        entities = [[ranked.entities[one] for one in first] for first in firsts]
        reranker = self._scorer.make_reranker()
        scores = reranker.score(ranked.mentions, entities)
        rankings = []
        for candidates, own in zip(ranked.candidates, scores, strict=True):
            order = np.argsort(-own, kind="stable").tolist()
            rankings.append([*(candidates[position] for position in order), *candidates[len(own) :]])
        return rankings
