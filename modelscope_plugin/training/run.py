"""A training run, from the base checkpoint to the best model."""

from __future__ import annotations

import logging
import platform
import shutil
from pathlib import Path
from typing import Any

import torch
import transformers

from modelscope_plugin.storage.atomic_write import replace_folder
from modelscope_plugin.training.context import RunContext
from modelscope_plugin.training.objective import TrainingJob
from modelscope_plugin.training.record import TrainingResult, check_replaceable, read_finished_stages, write_record
from modelscope_plugin.training.run_folder import RunFolder
from modelscope_plugin.training.training_state import disk_errors
from modelscope_plugin.version import __version__

logger = logging.getLogger(__name__)


class TrainingRun:
    """A training run, as one of the processes that train together goes through it.

    Args:
        context: What the run is given.
        output: The model folder to write.
        job: What it trains, and on what.
    """

    def __init__(self, context: RunContext, output: Path, job: TrainingJob) -> None:
        self._context = context
        self._job = job
        self._processes = context.processes
        self._output = output
        self._folder = RunFolder(output)

    def train(self, resume: bool, overwrite: bool) -> TrainingResult:
        """Train all stages that are not finished yet and write the model folder; see `training.train`."""
        try:
            return self._train(resume, overwrite)
        except BaseException:
            if self._processes.is_main and self._folder.is_open:
                self._report_interruption()
            raise
        finally:
            self._folder.close()

    def _train(self, resume: bool, overwrite: bool) -> TrainingResult:
        folder, processes = self._folder, self._processes
        processes.run_on_main(lambda: folder.check(resume))
        identity = self._complete_identity(self._job.prepare())
        finished = processes.run_on_main(
            lambda: read_finished_stages(self._output, identity) if resume and not folder.is_started else None
        )
        if finished is not None:
            processes.log(logger, logging.INFO, "%s is the finished model of this very training", self._output)
            return TrainingResult(self._output, *finished, processes.is_main)
        if not (overwrite or folder.is_started):
            processes.run_on_main(lambda: check_replaceable(self._output))
        folder.stages = processes.run_on_main(lambda: folder.open(identity))
        processes.run_on_main(lambda: folder.check_space(self._job.weights_size, self._job.stages))
        self._job.train_stages(folder)
        best = max(reversed(folder.stages), key=lambda stage: stage.mean_recall)
        result = TrainingResult(self._output, folder.stages, best, processes.is_main)
        processes.run_on_main(lambda: self._publish(result, identity))
        return result

    def _complete_identity(self, identity: dict[str, Any]) -> dict[str, Any]:
        """All that decides the weights of the run: what the job says, and what computes."""
        return {
            **identity,
            "processes": self._processes.size,
            "device": self._processes.device.type,
            "versions": {
                "modelscope_plugin": __version__,
                "torch": torch.__version__,
                "transformers": transformers.__version__,
                "python": platform.python_version(),
            },
        }

    def _publish(self, result: TrainingResult, identity: dict[str, Any]) -> None:
        """Write the model of the best stage, with the record of the run, as the output folder."""
        with disk_errors(self._output), replace_folder(self._output) as draft:
            shutil.copytree(self._folder.files.model(result.best.stage), draft, dirs_exist_ok=True)
            write_record(draft, identity, self._context.base_name, result)
        self._folder.remove()

    def _report_interruption(self) -> None:
        """Say what an interrupted run leaves on disk and what can be done with it."""
        folder = self._folder
        folder.discard_if_empty()
        unfinished = folder.files.unfinished_model(len(folder.stages) + 1)
        if unfinished.exists():
            logger.warning(
                "the latest checkpoint is saved as the model %s; train it further from there, or delete %s and start "
                "anew",
                unfinished, folder.path,
            )  # fmt: skip
        elif folder.path.exists():
            logger.warning("what was finished is in %s; resume it with resume=True (--resume)", folder.path)
