"""Recall of a model during and after a stage."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator

import numpy as np

from modelscope_plugin.data.records import Entity
from modelscope_plugin.data.views import ViewSettings
from modelscope_plugin.encoding.encoder import EntityEncoder
from modelscope_plugin.encoding.protocol import Encoder
from modelscope_plugin.errors import NotFiniteError, TrainingError
from modelscope_plugin.evaluation.evaluate import Evaluation, evaluate
from modelscope_plugin.retrieval.entity_index import EntityIndex
from modelscope_plugin.retrieval.indexing import index_entities
from modelscope_plugin.training.context import TrainingContext
from modelscope_plugin.training.loop import DivergedError
from modelscope_plugin.training.training_data import TrainingData

logger = logging.getLogger(__name__)


class StageEvaluator:
    """Measures recall on the main process, and keeps the index of the latest stage for mining."""

    def __init__(self, context: TrainingContext, data: TrainingData) -> None:
        self._context = context
        self._data = data
        self._index: EntityIndex | None = None

    def evaluate_sample(self, encoder: EntityEncoder) -> Evaluation:
        """Measure recall over a part of the knowledge base, while the model is trained."""
        # An encoder keeps its fingerprint, and the weights have changed since the last time.
        current = EntityEncoder(encoder.model, encoder.tokenizer, encoder.name)
        return self._evaluate(current, self._build_index(current, self._sample_entities()))

    def evaluate_stage(self, encoder: Encoder, stage: int, step: int) -> Evaluation | None:
        """Index the knowledge base with the model of a stage and measure recall; None without evaluation mentions.

        Without them the index is built only where a stage follows.
        """
        has_mentions = self._context.eval_mentions is not None
        if not has_mentions and stage == self._context.settings.stages:
            return None
        self._index = self._index_all(encoder)
        if not has_mentions:
            return None
        evaluation = self._evaluate(encoder, self._index, by_ambiguity=True)
        logger.info("stage %d: %s", stage, evaluation)
        for name, value in evaluation.figures().items():
            self._context.write_figure(f"stage_{stage}/whole_{name}", value, step)
        return evaluation

    def take_index(self, encoder: Encoder) -> EntityIndex:
        """Hand out the index of the latest stage, built with ``encoder`` where a resumed run has none."""
        index, self._index = self._index, None
        return index or self._index_all(encoder)

    def _index_all(self, encoder: Encoder) -> EntityIndex:
        index, count = self._build_index(encoder, self._context.read_entities()), self._data.entity_count
        if len(index) != count:
            raise TrainingError(
                f"the knowledge base had {count} entities when training began and has {len(index)} now; leave it as it "
                "was until training ends"
            )
        return index

    def _build_index(self, encoder: Encoder, entities: Iterable[Entity]) -> EntityIndex:
        views = ViewSettings(self._context.settings.views)
        try:
            return index_entities(encoder, entities, views=views, show_progress_bar=self._context.show_progress_bar)
        except NotFiniteError as error:
            # Weights can be finite and still so large that the vectors are not.
            raise DivergedError(f"{error}; lower the learning rate") from error

    def _evaluate(self, encoder: Encoder, index: EntityIndex, by_ambiguity: bool = False) -> Evaluation:
        return evaluate(
            encoder,
            index,
            self._context.eval_mentions or (),
            ks=self._context.ks,
            seen=self._data.gold_ids,
            by_ambiguity=by_ambiguity,
            show_progress_bar=self._context.show_progress_bar,
        )

    def _sample_entities(self) -> Iterator[Entity]:
        """All gold entities of the evaluation, and a sample of the others up to ``eval_max_entities``."""
        limit, count = self._context.settings.eval_max_entities, self._data.entity_count
        wanted = self._context.eval_entity_ids
        share = max(0, limit - len(wanted)) / count
        random = np.random.default_rng(self._context.settings.seed)
        for entity in self._context.read_entities():
            is_drawn = random.random() < share
            if count <= limit or is_drawn or entity.id in wanted:
                yield entity
