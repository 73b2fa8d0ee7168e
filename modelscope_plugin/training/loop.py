"""The loop of one training stage.

It is written out here on torch because what decides the recall sits inside its step, where ``transformers.Trainer``
and ModelScope's ``EpochBasedTrainer`` would need private methods replaced: batches that all processes share,
cached gradients through two towers, candidates gathered from all processes, hard negatives drawn anew each epoch,
recall over a knowledge base as the measure. What is around the step comes from torch and transformers: AdamW,
schedules, mixed precision, clipping, TensorBoard.
"""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from transformers import get_scheduler

from modelscope_plugin.config.training_settings import TrainingSettings
from modelscope_plugin.encoding.encoder import EntityEncoder
from modelscope_plugin.errors import InputError, TrainingError
from modelscope_plugin.evaluation.evaluation import Evaluation
from modelscope_plugin.progress import progress_bar
from modelscope_plugin.training.batches import Batch, Batches
from modelscope_plugin.training.examples import Examples
from modelscope_plugin.training.gradients import GradientComputer
from modelscope_plugin.training.losses import contrastive_loss
from modelscope_plugin.training.training_state import (
    Progress,
    load_checkpoint,
    load_weights,
    save_checkpoint,
    save_weights,
)
from modelscope_plugin.training.workers import Workers

logger = logging.getLogger(__name__)

Writer = Callable[[str, float, int], None]
"""Takes the name of a figure, its value and the step: TensorBoard's ``add_scalar``."""

_CHECKPOINT, _BEST = "checkpoint", "best.safetensors"
# How often an epoch the loss is shown and looked at.
_LOOKS = 20


class DivergedError(TrainingError):
    """Loss, weights or vectors are no numbers any more; the same run would come there again."""


class Loop:
    """Trains an encoder on examples, in place.

    Args:
        encoder: The encoder; its model is on the device of the worker.
        examples: What to train on.
        settings: How to train.
        stage: Which stage this is, from 1.
        workers: The processes that train together.
        folder: Where checkpoints go; one that is there is gone on from.
        evaluate: Measures recall on the way, where it is wanted; called by the main process alone.
        write: Takes the figures of the steps, where they are wanted.
        show_progress_bar: True, False, or None for a bar on a terminal only.
    """

    def __init__(
        self,
        encoder: EntityEncoder,
        examples: Examples,
        settings: TrainingSettings,
        stage: int,
        workers: Workers,
        folder: Path,
        evaluate: Callable[[], Evaluation] | None = None,
        write: Writer | None = None,
        show_progress_bar: bool | None = None,
    ) -> None:
        self._model = encoder.model
        self._settings = settings
        self._workers = workers
        self._folder = folder
        self._evaluate = evaluate
        self._write = write or (lambda *_: None)
        self._show = show_progress_bar if workers.is_main else False
        self._stage = stage
        self._epochs = settings.epochs_of(stage)
        self._batches = Batches(
            examples,
            settings.batch_size * workers.size,
            settings.seed + stage - 1,
            settings.hard_negatives,
            settings.random_negatives * workers.size,
        )
        self._steps_of_epoch = -(-len(self._batches) // settings.gradient_accumulation_steps)
        self._steps = self._epochs * self._steps_of_epoch
        self._parameters = [parameter for parameter in self._model.parameters() if parameter.requires_grad]
        # Biases and layer norms, the vectors among the weights, are not decayed.
        groups = [
            {"params": [p for p in self._parameters if p.ndim > 1], "weight_decay": settings.weight_decay},
            {"params": [p for p in self._parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self._optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate_of(stage), fused=True)
        self._schedule = get_scheduler(
            settings.lr_scheduler_type, self._optimizer, int(self._steps * settings.warmup_ratio), self._steps
        )
        self._scaler = torch.amp.GradScaler(workers.device.type, enabled=settings.mixed_precision == "fp16")
        self._gradients = GradientComputer(
            self._model,
            encoder.tokenizer,
            partial(contrastive_loss, temperature=settings.temperature, symmetric=settings.symmetric),
            workers,
            settings.mini_batch_size,
            self._autocast,
        )
        self.progress = Progress()

    def run(self) -> None:
        """Train, going on from a checkpoint where there is one; the best weights measured are kept.

        Raises:
            DivergedError: If the loss is no number before anything was measured.
            TrainingError: If the disk is full or the checkpoint does not fit.
        """
        if (self._folder / _CHECKPOINT).exists():
            self._resume()
        self._model.train()
        started = time.monotonic() - self.progress.seconds
        with progress_bar(self._steps, f"Training, stage {self._stage}", "step", self._show) as bar:
            bar.update(self.progress.step)
            try:
                while self.progress.step < self._steps and not self._is_stopped():
                    self._epoch(bar, started)
            except DivergedError as error:
                if self.progress.best is None:
                    raise
                self._workers.log(logger, logging.WARNING, "%s; the best weights until then are kept", error)
        self._close_epoch()
        self.progress.seconds = time.monotonic() - started
        self._model.eval()
        if self.progress.best is not None:
            load_weights(self._model, self._folder / _BEST)
        self._check_weights()

    def restore(self) -> bool:
        """Put the weights of the latest checkpoint into the model; False where there is none."""
        if (self._folder / _CHECKPOINT).exists():
            load_checkpoint(self._folder / _CHECKPOINT, self._model)
            return True
        return False

    @property
    def guessing(self) -> float:
        """The last epoch's loss for a model that knows nothing; 0 where no mention had a negative."""
        return sum(self.progress.guessing) / max(1, len(self.progress.guessing))

    @property
    def has_learned(self) -> bool:
        """Whether the loss of the last epoch is clearly below that of guessing."""
        return self.progress.losses[-1] < 0.95 * self.guessing

    def _epoch(self, bar: Any, started: float) -> None:
        progress, accumulate = self.progress, self._settings.gradient_accumulation_steps
        epoch, done = divmod(progress.step, self._steps_of_epoch)
        if not done:
            progress.guessing = []
        batches = self._batches.epoch(epoch, done * accumulate)
        look = max(1, self._steps_of_epoch // _LOOKS)
        recent: list[torch.Tensor] = []
        for step in range(done, self._steps_of_epoch):
            recent.append(self._step(list(islice(batches, accumulate))))
            progress.step += 1
            bar.update(1)
            last = step + 1 == self._steps_of_epoch
            if (step + 1) % look == 0 or last or self._is_due():
                self._look(recent, bar)
                recent = []
            if last:
                self._close_epoch()
                self._workers.log(
                    logger, logging.INFO, "epoch %d of %d: loss %.4f", epoch + 1, self._epochs, progress.losses[-1]
                )
            progress.seconds = time.monotonic() - started
            if self._is_due() or (last and not (self._settings.eval_steps or self._settings.save_steps)):
                self._measure_and_save()
                if self._is_stopped():
                    break

    def _close_epoch(self) -> None:
        """Note the mean loss of an epoch that has ended, or was ended early."""
        if self.progress.epoch_losses:
            self.progress.losses.append(sum(self.progress.epoch_losses) / len(self.progress.epoch_losses))
            self.progress.epoch_losses = []

    def _step(self, batches: list[Batch]) -> torch.Tensor:
        """One step of the optimiser; the mean loss of its batches."""
        scaler = self._scaler
        losses = [self._gradients.backward(batch, lambda grad: scaler.scale(grad / len(batches))) for batch in batches]
        self.progress.guessing += [batch.guessing(self._settings.symmetric) for batch in batches]
        self._workers.sum_gradients(self._parameters)
        scaler.unscale_(self._optimizer)
        if self._settings.max_grad_norm:
            torch.nn.utils.clip_grad_norm_(self._parameters, self._settings.max_grad_norm)
        before = scaler.get_scale()
        scaler.step(self._optimizer)
        scaler.update()
        if scaler.get_scale() >= before:
            self._schedule.step()
        self._optimizer.zero_grad()
        return torch.stack(losses).mean()

    def _look(self, recent: list[torch.Tensor], bar: Any) -> None:
        """Show the loss of the latest steps, and stop where it is no number."""
        if not recent:
            return
        losses = torch.stack(recent).tolist()
        mean, rate = sum(losses) / len(losses), self._schedule.get_last_lr()[0]
        if not math.isfinite(mean):
            raise DivergedError(
                f"the loss is {mean} at step {self.progress.step}; lower the learning rate or raise the temperature"
            )
        self.progress.epoch_losses += losses
        bar.set_postfix_str(f"loss {mean:.3f}, rate {rate:.1e}")
        self._write(f"stage_{self._stage}/loss", mean, self.progress.step)
        self._write(f"stage_{self._stage}/learning_rate", rate, self.progress.step)

    def _is_due(self) -> bool:
        every = self._settings.eval_steps or self._settings.save_steps
        return bool(every) and (self.progress.step % every == 0 or self.progress.step == self._steps)

    def _is_stopped(self) -> bool:
        patience = self._settings.early_stopping_patience
        return bool(patience) and self.progress.measured >= patience

    def _check_weights(self) -> None:
        if not all(torch.isfinite(parameter).all() for parameter in self._parameters):
            raise DivergedError(
                f"the weights are no numbers any more at step {self.progress.step}; lower the learning rate"
            )

    def _measure_and_save(self) -> None:
        self._check_weights()
        progress = self.progress
        if self._settings.eval_steps and self._evaluate is not None:
            self._measure(self._evaluate)
        state = {
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
            "scaler": self._scaler.state_dict(),
            "randomness": self._workers.collect(_random_state(self._workers.device)),
        }
        self._workers.on_main(lambda: save_checkpoint(self._folder / _CHECKPOINT, self._model, state, progress))

    def _measure(self, evaluate: Callable[[], Evaluation]) -> None:
        progress = self.progress
        evaluation = self._workers.on_main(evaluate)
        for name, value in evaluation.figures().items():
            self._write(f"stage_{self._stage}/{name}", value, progress.step)
        self._workers.log(logger, logging.INFO, "step %d of %d: %s", progress.step, self._steps, evaluation)
        if progress.best is not None and evaluation.mean_recall <= progress.best:
            progress.measured += 1
            return
        progress.best, progress.best_step, progress.measured = evaluation.mean_recall, progress.step, 0
        self._workers.on_main(lambda: save_weights(self._model, self._folder / _BEST))

    def _resume(self) -> None:
        state, self.progress = load_checkpoint(self._folder / _CHECKPOINT, self._model)
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
        self._scaler.load_state_dict(state["scaler"])
        _set_random_state(state["randomness"][self._workers.rank], self._workers.device)
        self._workers.log(
            logger, logging.INFO, "stage %d goes on from step %d of %d", self._stage, self.progress.step, self._steps
        )

    def _autocast(self) -> AbstractContextManager[object]:
        if self._settings.mixed_precision == "no":
            return contextlib.nullcontext()
        dtype = torch.bfloat16 if self._settings.mixed_precision == "bf16" else torch.float16
        return torch.autocast(self._workers.device.type, dtype)


def check_mixed_precision(mixed_precision: str, device: torch.device) -> None:
    """Raise `InputError` where a device cannot compute in a precision."""
    if mixed_precision == "fp16" and device.type == "cpu":
        raise InputError("mixed_precision=fp16 needs a GPU; on the CPU use bf16 or no")
    if mixed_precision == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise InputError("this GPU has no bf16; use mixed_precision=fp16")


def set_dropout(model: torch.nn.Module, share: float) -> None:
    """Set the dropout of every layer, on layers and attention alike, without a change to config.json."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = share
        for name in ("dropout", "attention_dropout", "dropout_prob"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, share)


def _random_state(device: torch.device) -> list[torch.Tensor]:
    states = [torch.get_rng_state()]
    return [*states, torch.cuda.get_rng_state(device)] if device.type == "cuda" else states


def _set_random_state(states: list[torch.Tensor], device: torch.device) -> None:
    torch.set_rng_state(states[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states[1], device)
