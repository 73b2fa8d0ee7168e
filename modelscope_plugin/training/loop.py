"""The loop of one training stage.

It is written out here on torch because what decides the recall sits inside its step, where ``transformers.Trainer``
and ModelScope's ``EpochBasedTrainer`` would need private methods replaced: batches that all processes share,
cached gradients through two towers, candidates gathered from all processes, hard negatives drawn anew each epoch,
recall over a knowledge base as the measure. What is around the step comes from torch and transformers: AdamW,
schedules, mixed precision, clipping, TensorBoard.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from modelscope_plugin.errors import TrainingError
from modelscope_plugin.evaluation.evaluate import Evaluation
from modelscope_plugin.progress import progress_bar
from modelscope_plugin.training.context import RunContext
from modelscope_plugin.training.objective import LoopSettings, Objective
from modelscope_plugin.training.optimization import Optimization
from modelscope_plugin.training.random_state import get_random_state, set_random_state
from modelscope_plugin.training.training_state import (
    BEST_WEIGHTS_FILE,
    CHECKPOINT_FOLDER,
    Progress,
    load_checkpoint,
    load_weights,
    save_checkpoint,
    save_weights,
)

logger = logging.getLogger(__name__)

# How often an epoch the loss is read from the device, checked and shown.
_REPORTS = 20


class DivergedError(TrainingError):
    """The loss, the weights or the vectors are NaN or infinite; the same run would diverge again."""


class Loop:
    """Trains a model on the batches of a stage, in place.

    Args:
        objective: The model, its batches and its loss.
        settings: How to train.
        context: The run: processes, reporting.
        stage: The stage, from 1.
        folder: Folder of checkpoints; training is resumed from the one that is there.
        evaluate: Measures recall, every ``eval_steps``; called by the main process alone.
    """

    def __init__(
        self,
        objective: Objective[Any],
        settings: LoopSettings,
        context: RunContext,
        stage: int,
        folder: Path,
        evaluate: Callable[[], Evaluation],
    ) -> None:
        self._model, self._objective = objective.model, objective
        self._context, self._settings, self._processes = context, settings, context.processes
        self._folder, self._measure_recall, self._stage = folder, evaluate, stage
        self._epochs = settings.epochs_of(stage)
        self._epoch_steps = -(-len(objective) // settings.gradient_accumulation_steps)
        self._steps = self._epochs * self._epoch_steps
        self._optimization = Optimization(self._model, settings, stage, self._steps, context.processes)
        self.progress = Progress()

    def run(self) -> None:
        """Train, from the checkpoint where there is one; at the end the model has the best weights measured.

        Raises:
            DivergedError: If the loss becomes NaN or infinite before anything was measured.
        """
        if (self._folder / CHECKPOINT_FOLDER).exists():
            self._resume()
        self._model.train()
        started = time.monotonic() - self.progress.seconds
        title = f"Training, stage {self._stage}"
        with progress_bar(self._steps, title, "step", self._context.show_progress_bar) as bar:
            bar.update(self.progress.step)
            try:
                while self.progress.step < self._steps and not self._is_stopped():
                    self._run_epoch(bar, started)
            except DivergedError as error:
                if self.progress.best_recall is None:
                    raise
                self._processes.log(logger, logging.WARNING, "%s; the best weights until then are kept", error)
        self.progress.end_epoch()
        self.progress.seconds = time.monotonic() - started
        self._model.eval()
        if self.progress.best_recall is not None:
            load_weights(self._model, self._folder / BEST_WEIGHTS_FILE)
        self._check_weights()

    def restore_checkpoint(self) -> bool:
        """Load the weights of the latest checkpoint into the model; False where there is none."""
        folder = self._folder / CHECKPOINT_FOLDER
        if not folder.exists():
            return False
        load_checkpoint(folder, self._model)
        return True

    def _run_epoch(self, bar: Any, started: float) -> None:
        """Train until the end of the epoch, or until early stopping."""
        progress, accumulate = self.progress, self._settings.gradient_accumulation_steps
        epoch, done = divmod(progress.step, self._epoch_steps)
        if not done:
            progress.guessing_losses = []
        batches = self._objective.epoch(epoch, done * accumulate)
        report_every = max(1, self._epoch_steps // _REPORTS)
        recent: list[torch.Tensor] = []
        for step in range(done, self._epoch_steps):
            recent.append(self._step(list(islice(batches, accumulate))))
            progress.step += 1
            bar.update(1)
            is_last = step + 1 == self._epoch_steps
            if (step + 1) % report_every == 0 or is_last or self._is_save_due():
                self._report_losses(recent, bar)
                recent = []
            if is_last:
                progress.end_epoch()
                self._processes.log(
                    logger, logging.INFO, "epoch %d of %d: loss %.4f", epoch + 1, self._epochs, progress.losses[-1]
                )
            progress.seconds = time.monotonic() - started
            if self._is_save_due() or (is_last and not (self._settings.eval_steps or self._settings.save_steps)):
                self._save()
                if self._is_stopped():
                    break

    def _step(self, batches: list[Any]) -> torch.Tensor:
        """Make one step of the optimiser; the mean loss of its batches."""
        scale = self._optimization.scale
        losses = [self._objective.backward(batch, lambda grad: scale(grad / len(batches))) for batch in batches]
        self.progress.guessing_losses += [self._objective.guessing_loss(batch) for batch in batches]
        self._optimization.step()
        return torch.stack(losses).mean()

    def _report_losses(self, recent: list[torch.Tensor], bar: Any) -> None:
        """Show the loss of the latest steps, and stop where it is NaN or infinite."""
        losses = torch.stack(recent).tolist()
        mean, rate, step = sum(losses) / len(losses), self._optimization.learning_rate, self.progress.step
        if not math.isfinite(mean):
            name = "NaN" if math.isnan(mean) else "infinite"
            raise DivergedError(f"the loss is {name} at step {step}; lower the learning rate or raise the temperature")
        self.progress.step_losses += losses
        bar.set_postfix_str(f"loss {mean:.3f}, rate {rate:.1e}")
        self._context.write_figure(f"stage_{self._stage}/loss", mean, step)
        self._context.write_figure(f"stage_{self._stage}/learning_rate", rate, step)

    def _is_save_due(self) -> bool:
        every = self._settings.eval_steps or self._settings.save_steps
        return bool(every) and (self.progress.step % every == 0 or self.progress.step == self._steps)

    def _is_stopped(self) -> bool:
        patience = self._settings.early_stopping_patience
        return bool(patience) and self.progress.evaluations_since_best >= patience

    def _check_weights(self) -> None:
        if not self._optimization.has_finite_weights:
            raise DivergedError(f"weights are NaN or infinite at step {self.progress.step}; lower the learning rate")

    def _save(self) -> None:
        """Measure recall where it is wanted, then write a checkpoint."""
        self._check_weights()
        if self._settings.eval_steps:
            self._evaluate()
        state = self._optimization.state_dict()
        # Every process draws its own random numbers.
        state["randomness"] = self._processes.gather_objects(get_random_state(self._processes.device))
        folder = self._folder / CHECKPOINT_FOLDER
        self._processes.run_on_main(lambda: save_checkpoint(folder, self._model, state, self.progress))

    def _evaluate(self) -> None:
        """Measure recall, and keep the weights where they are the best so far."""
        progress = self.progress
        evaluation = self._processes.run_on_main(self._measure_recall)
        for name, value in evaluation.figures().items():
            self._context.write_figure(f"stage_{self._stage}/{name}", value, progress.step)
        self._processes.log(logger, logging.INFO, "step %d of %d: %s", progress.step, self._steps, evaluation)
        if progress.best_recall is not None and evaluation.mean_recall <= progress.best_recall:
            progress.evaluations_since_best += 1
            return
        progress.best_recall, progress.best_step = evaluation.mean_recall, progress.step
        progress.evaluations_since_best = 0
        self._processes.run_on_main(lambda: save_weights(self._model, self._folder / BEST_WEIGHTS_FILE))

    def _resume(self) -> None:
        state, self.progress = load_checkpoint(self._folder / CHECKPOINT_FOLDER, self._model)
        self._optimization.load_state_dict(state)
        set_random_state(state["randomness"][self._processes.rank], self._processes.device)
        self._processes.log(
            logger, logging.INFO, "stage %d resumes at step %d of %d", self._stage, self.progress.step, self._steps
        )
