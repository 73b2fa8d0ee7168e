"""What a training run does for a dual encoder.

Stage one has in-batch negatives; before each further stage the model mines hard negatives over the whole knowledge
base, and is trained on with them (Wu et al. 2020; the model card has two stages).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from modelscope_plugin.data.records import Mention
from modelscope_plugin.encoding.encoder import EntityEncoder
from modelscope_plugin.storage.atomic_write import write_json
from modelscope_plugin.training.context import TrainingContext
from modelscope_plugin.training.dual_encoder_stage import DualEncoderStage
from modelscope_plugin.training.encoder_setup import load_trainable_encoder
from modelscope_plugin.training.hard_negative_mining import mine_negatives
from modelscope_plugin.training.negatives_file import read_negatives
from modelscope_plugin.training.run_folder import RunFolder
from modelscope_plugin.training.stage_evaluation import StageEvaluator
from modelscope_plugin.training.stage_trainer import StageTrainer
from modelscope_plugin.training.training_data import make_examples, read_training_data
from modelscope_plugin.training.training_state import disk_errors

logger = logging.getLogger(__name__)


class DualEncoderJob:
    """Trains a dual encoder in one stage or more; see `TrainingJob`.

    Args:
        context: What the run is given.
        mentions: The training mentions.
    """

    def __init__(self, context: TrainingContext, mentions: Iterable[Mention]) -> None:
        self._context = context
        self._processes = context.processes
        self._mentions = mentions

    @property
    def stages(self) -> int:
        """How many stages it has."""
        return self._context.settings.stages

    @property
    def weights_size(self) -> int:
        """Bytes of the weights."""
        return sum(p.numel() * p.element_size() for p in self._encoder.model.parameters())

    def prepare(self) -> dict[str, Any]:
        """Load the base checkpoint and read the data; all that decides the weights."""
        self._encoder = self._load_encoder(self._context.base)
        self._data = read_training_data(self._context, self._encoder.tokenizer, self._mentions)
        return {
            "base_model": self._encoder.fingerprint,
            "settings": asdict(self._context.settings),
            "mining": asdict(self._context.mining),
            "ks": self._context.ks,
            "data": self._data.record,
        }

    def train_stages(self, folder: RunFolder) -> None:
        """Train the stages that the run folder lacks, each from the model of the one before."""
        encoder, data, examples = self._encoder, self._data, self._data.examples
        evaluator = StageEvaluator(self._context, data)
        trainer = StageTrainer(self._context, folder)
        for stage in range(len(folder.stages) + 1, self.stages + 1):
            mining = None
            if stage > 1:
                encoder = self._load_encoder(folder.files.model(stage - 1))
                file = folder.files.negatives(stage)
                mentions, mining = self._mine_negatives(stage, file, encoder, evaluator, data.mentions)
                if not mining["negatives"]:
                    message = "mining found no hard negative; the stages from %d on are left out"
                    self._processes.log(logger, logging.WARNING, message, stage)
                    return
                examples = make_examples(self._context, encoder.tokenizer, mentions)
            model = DualEncoderStage(encoder, examples, self._context, stage, evaluator)
            trainer.train(stage, model, mining)

    def _load_encoder(self, folder: Path) -> EntityEncoder:
        return load_trainable_encoder(folder, self._context.settings, self._processes.device)

    def _mine_negatives(
        self, stage: int, file: Path, encoder: EntityEncoder, evaluator: StageEvaluator, mentions: list[Mention]
    ) -> tuple[list[Mention], dict[str, Any]]:
        """Mine hard negatives with the model of the stage before; the mentions that have some, and the figures."""
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
