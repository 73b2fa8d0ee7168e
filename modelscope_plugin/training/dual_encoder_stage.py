"""One stage of a dual encoder: contrastive loss, its model folder, recall over the knowledge base."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch

from modelscope_plugin.config.configuration import default_configuration, merge_configurations
from modelscope_plugin.encoding.encoder import EntityEncoder
from modelscope_plugin.evaluation.evaluate import Evaluation
from modelscope_plugin.modeling.model_folder import write_model_folder
from modelscope_plugin.training.context import TrainingContext
from modelscope_plugin.training.epoch_batches import Batch, Batches
from modelscope_plugin.training.examples import Examples
from modelscope_plugin.training.gradients import GradientComputer
from modelscope_plugin.training.losses import contrastive_loss
from modelscope_plugin.training.optimization import autocast
from modelscope_plugin.training.stage_evaluation import StageEvaluator


class ContrastiveObjective:
    """Batches whose entities are each other's negatives; see `Objective`.

    Args:
        encoder: The encoder; its model is on the device of this process.
        examples: The examples.
        context: The run.
        stage: The stage, from 1.
    """

    def __init__(self, encoder: EntityEncoder, examples: Examples, context: TrainingContext, stage: int) -> None:
        settings, processes = context.settings, context.processes
        self.model = encoder.model
        self._symmetric = settings.symmetric
        self._batches = Batches(
            examples,
            settings.batch_size * processes.size,
            settings.seed + stage - 1,
            settings.hard_negatives,
            settings.random_negatives * processes.size,
        )
        self._gradients = GradientComputer(
            encoder.model,
            encoder.tokenizer,
            partial(contrastive_loss, temperature=settings.temperature, symmetric=settings.symmetric),
            processes,
            settings.mini_batch_size,
            partial(autocast, settings.mixed_precision, processes.device),
        )

    def __len__(self) -> int:
        return len(self._batches)

    def epoch(self, number: int, start: int) -> Iterator[Batch]:
        """Make the batches of an epoch."""
        return self._batches.epoch(number, start)

    def backward(self, batch: Batch, scale: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        """Add the gradient of a batch."""
        return self._gradients.backward(batch, scale)

    def guessing_loss(self, batch: Batch) -> float:
        """The loss of a model that knows nothing."""
        return batch.guessing_loss(self._symmetric)


class DualEncoderStage:
    """A dual encoder in one stage of its training; see `StageModel`.

    Args:
        encoder: The encoder.
        examples: The examples of the stage.
        context: The run.
        stage: The stage, from 1.
        evaluator: Measures recall.
    """

    def __init__(
        self,
        encoder: EntityEncoder,
        examples: Examples,
        context: TrainingContext,
        stage: int,
        evaluator: StageEvaluator,
    ) -> None:
        self.settings = context.settings
        self.objective = ContrastiveObjective(encoder, examples, context, stage)
        self._encoder, self._context, self._stage, self._evaluator = encoder, context, stage, evaluator

    def write_folder(self, folder: Path) -> None:
        """Write the model folder, with the settings of the run in its configuration.json."""
        sections = merge_configurations(self.settings.to_sections(), self._context.mining.to_sections())
        configuration = merge_configurations(default_configuration(), sections)
        write_model_folder(folder, self._encoder.model, self._encoder.tokenizer, configuration)

    def evaluate_sample(self) -> Evaluation:
        """Measure recall over a part of the knowledge base."""
        return self._evaluator.evaluate_sample(self._encoder)

    def evaluate_folder(self, folder: Path, step: int) -> Evaluation | None:
        """Measure recall over the whole knowledge base."""
        trained = EntityEncoder(self._encoder.model, self._encoder.tokenizer, str(folder))
        return self._evaluator.evaluate_stage(trained, self._stage, step)
