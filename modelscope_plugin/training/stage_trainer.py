"""One stage of a training run."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch

from modelscope_plugin.storage.atomic_write import replace_folder
from modelscope_plugin.training.context import RunContext
from modelscope_plugin.training.loop import DivergedError, Loop
from modelscope_plugin.training.objective import StageModel
from modelscope_plugin.training.record import StageResult
from modelscope_plugin.training.run_folder import RunFolder
from modelscope_plugin.training.training_state import Progress, disk_errors

logger = logging.getLogger(__name__)


class StageTrainer:
    """Trains stages one at a time, saves their models and measures them."""

    def __init__(self, context: RunContext, folder: RunFolder) -> None:
        self._context = context
        self._folder = folder

    def train(self, stage: int, model: StageModel, mining: dict[str, Any] | None) -> None:
        """Train a stage in place, and add its result, with the figures of mining before it, to the run folder.

        Raises:
            DivergedError: If it has diverged before anything was measured; the latest checkpoint is then a model.
        """
        processes, folder = self._context.processes, self._folder
        torch.manual_seed(model.settings.seed + 1000 * stage + processes.rank)
        checkpoints = folder.files.checkpoints(stage)
        loop = Loop(model.objective, model.settings, self._context, stage, checkpoints, model.evaluate_sample)
        try:
            loop.run()
        except DivergedError:
            processes.run_on_main(lambda: self._rescue(stage, model, loop))
            raise
        # All have to have read the best weights before the checkpoints are removed.
        processes.wait()
        folder.stages = processes.run_on_main(lambda: self._finish(stage, model, loop.progress, mining))

    def _rescue(self, stage: int, model: StageModel, loop: Loop) -> None:
        """Save the latest checkpoint as a model; resuming from it would diverge again."""
        if loop.restore_checkpoint():
            self._save_model(self._folder.files.unfinished_model(stage), model)
        self._folder.files.remove_checkpoints(stage)

    def _save_model(self, folder: Path, model: StageModel) -> None:
        with disk_errors(folder), replace_folder(folder) as draft:
            model.write_folder(draft)

    def _finish(
        self, stage: int, model: StageModel, progress: Progress, mining: dict[str, Any] | None
    ) -> list[StageResult]:
        """Save the model of a stage, then measure it; the results of all stages so far."""
        if not progress.guessing_loss:
            logger.warning(
                "stage %d has nothing to learn from: no batch held a negative; raise batch_size or random_negatives",
                stage,
            )
        elif progress.has_collapsed:
            logger.warning(
                "the model has not learned: its loss %.3f is that of guessing. From random weights try dropout=0, "
                "a higher learning rate or more epochs",
                progress.losses[-1],
            )
        # The model is safe on disk before anything is done with it.
        folder = self._folder.files.model(stage)
        self._save_model(folder, model)
        evaluation = model.evaluate_folder(folder, progress.step)
        result = StageResult(
            stage=stage,
            losses=progress.losses,
            collapsed=progress.has_collapsed,
            steps=progress.step,
            best_step=progress.best_step or progress.step,
            seconds=round(progress.seconds, 1),
            mining=mining,
            evaluation=None if evaluation is None else evaluation.to_record(),
        )
        self._folder.finish_stage(result)
        return self._folder.stages
