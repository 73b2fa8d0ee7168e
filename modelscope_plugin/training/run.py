"""A training run, from the base checkpoint to the best model.

Stage one has in-batch negatives; before each further stage the model mines hard negatives over the whole knowledge
base, and is trained on with them (Wu et al. 2020; the model card has two stages).
"""

from __future__ import annotations

import logging
import platform
import shutil
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
import transformers

from modelscope_plugin.data.records import Mention
from modelscope_plugin.encoding.encoder import EntityEncoder
from modelscope_plugin.storage.atomic_write import replace_folder, write_json
from modelscope_plugin.training.context import TrainingContext
from modelscope_plugin.training.encoder_setup import load_trainable_encoder
from modelscope_plugin.training.hard_negative_mining import mine_negatives
from modelscope_plugin.training.negatives_file import read_negatives
from modelscope_plugin.training.record import TrainingResult, check_replaceable, read_finished_stages, write_record
from modelscope_plugin.training.run_folder import RunFolder
from modelscope_plugin.training.stage_evaluation import StageEvaluator
from modelscope_plugin.training.stage_trainer import StageTrainer
from modelscope_plugin.training.training_data import TrainingData, make_examples, read_training_data
from modelscope_plugin.training.training_state import disk_errors
from modelscope_plugin.version import __version__

logger = logging.getLogger(__name__)


class TrainingRun:
    """A training run, as one of the processes that train together goes through it.

    Args:
        context: What the run is given.
        output: The model folder to write.
    """

    def __init__(self, context: TrainingContext, output: Path) -> None:
        self._context = context
        self._processes = context.processes
        self._output = output
        self._folder = RunFolder(output)

    def train(self, mentions: Iterable[Mention], resume: bool, overwrite: bool) -> TrainingResult:
        """Train all stages that are not finished yet and write the model folder; see `training.train`."""
        try:
            return self._train(mentions, resume, overwrite)
        except BaseException:
            if self._processes.is_main and self._folder.is_open:
                self._report_interruption()
            raise
        finally:
            self._folder.close()

    def _train(self, mentions: Iterable[Mention], resume: bool, overwrite: bool) -> TrainingResult:
        folder, processes = self._folder, self._processes
        processes.run_on_main(lambda: folder.check(resume))
        encoder = self._load_encoder(self._context.base)
        data = read_training_data(self._context, encoder.tokenizer, mentions)
        identity = self._identity(encoder, data)
        finished = processes.run_on_main(
            lambda: read_finished_stages(self._output, identity) if resume and not folder.is_started else None
        )
        if finished is not None:
            processes.log(logger, logging.INFO, "%s is the finished model of this very training", self._output)
            return TrainingResult(self._output, *finished, processes.is_main)
        if not (overwrite or folder.is_started):
            processes.run_on_main(lambda: check_replaceable(self._output))
        folder.stages = processes.run_on_main(lambda: folder.open(identity))
        weights_size = sum(p.numel() * p.element_size() for p in encoder.model.parameters())
        processes.run_on_main(lambda: folder.check_space(weights_size, self._context.settings.stages))
        self._train_stages(encoder, data)
        best = max(reversed(folder.stages), key=lambda stage: stage.mean_recall)
        result = TrainingResult(self._output, folder.stages, best, processes.is_main)
        processes.run_on_main(lambda: self._publish(result, identity))
        return result

    def _train_stages(self, encoder: EntityEncoder, data: TrainingData) -> None:
        """Train the stages that the run folder lacks, each from the model of the one before."""
        folder, examples = self._folder, data.examples
        evaluator = StageEvaluator(self._context, data)
        trainer = StageTrainer(self._context, folder, evaluator)
        for stage in range(len(folder.stages) + 1, self._context.settings.stages + 1):
            mining = None
            if stage > 1:
                encoder = self._load_encoder(folder.files.model(stage - 1))
                mentions, mining = self._mine_negatives(stage, encoder, evaluator, data.mentions)
                if not mining["negatives"]:
                    message = "mining found no hard negative; the stages from %d on are left out"
                    self._processes.log(logger, logging.WARNING, message, stage)
                    return
                examples = make_examples(self._context, encoder.tokenizer, mentions)
            trainer.train(stage, encoder, examples, mining)

    def _load_encoder(self, folder: Path) -> EntityEncoder:
        return load_trainable_encoder(folder, self._context.settings, self._processes.device)

    def _mine_negatives(
        self, stage: int, encoder: EntityEncoder, evaluator: StageEvaluator, mentions: list[Mention]
    ) -> tuple[list[Mention], dict[str, Any]]:
        """Mine hard negatives with the model of the stage before; the mentions that have some, and the figures."""
        file = self._folder.files.negatives(stage)
        # Each stage draws others.
        settings = replace(self._context.mining, seed=(self._context.mining.seed + stage) % 2**31)

        def mine() -> None:
            if file.exists():  # mined before the run was interrupted
                return
            index = evaluator.take_index(encoder)
            result = mine_negatives(
                encoder, index, mentions, settings, show_progress_bar=self._context.show_progress_bar
            )
            negatives = [mention.negatives for mention in result.mentions]
            with disk_errors(file):
                pairs = list(zip(result.positions, negatives, strict=True))
                write_json(file, {"report": result.report.to_record(), "negatives": pairs})
            logger.info("mined %d hard negatives for %d mentions", result.report.negatives, result.report.mentions)

        self._processes.run_on_main(mine)
        return read_negatives(file, mentions)

    def _identity(self, encoder: EntityEncoder, data: TrainingData) -> dict[str, Any]:
        """All that decides the weights of the run."""
        return {
            "base_model": encoder.fingerprint,
            "settings": asdict(self._context.settings),
            "mining": asdict(self._context.mining),
            "ks": self._context.ks,
            "data": data.record,
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
