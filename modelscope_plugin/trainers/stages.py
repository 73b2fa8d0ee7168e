"""The stages of a training run, from the base checkpoint to the best model.

Stage one has in-batch negatives; before each further stage the model mines hard negatives over the whole knowledge
base, and is trained on with them (Wu et al. 2020; the model card has two stages).
"""

from __future__ import annotations

import json
import logging
import platform
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from transformers import set_seed

from modelscope_plugin.configuration import merged
from modelscope_plugin.data.checksum import Checksum
from modelscope_plugin.data.kb_mentions import mentions_of_entity
from modelscope_plugin.data.readers import read_mentions
from modelscope_plugin.data.records import Entity, Mention
from modelscope_plugin.encoding.encoder import EntityEncoder
from modelscope_plugin.errors import TrainingError
from modelscope_plugin.files import replace_folder, write_json
from modelscope_plugin.index.building import build_index
from modelscope_plugin.index.entity_index import EntityIndex
from modelscope_plugin.metrics.evaluation import Evaluation, evaluate
from modelscope_plugin.models.dual_encoder import DualEncoder
from modelscope_plugin.models.location import resolve_model
from modelscope_plugin.models.model_folder import write_model_folder
from modelscope_plugin.preprocessors.checkpoint_files import entity_tokenizer, load_tokenizer
from modelscope_plugin.preprocessors.tokenization import declare_markers
from modelscope_plugin.trainers.checkpoint import disk_errors
from modelscope_plugin.trainers.examples import Examples
from modelscope_plugin.trainers.loop import DivergedError, Loop, Writer, set_dropout
from modelscope_plugin.trainers.mining import MiningReport, mine_negatives, write_negatives
from modelscope_plugin.trainers.results import StageResult, TrainingResult
from modelscope_plugin.trainers.run_folder import RunFolder
from modelscope_plugin.trainers.settings import MiningSettings, TrainingSettings
from modelscope_plugin.trainers.workers import Workers
from modelscope_plugin.version import __version__

logger = logging.getLogger(__name__)

RECORD_FILE = "training.json"
"""File of the model folder that records how it was trained."""

# Copies of the weights that a run has on disk at once: two checkpoints with both moments of AdamW, the best
# weights, and models of stages.
_COPIES = 9


class Stages:
    """A training run, as one of the processes that train together goes through it.

    Args:
        base: Folder or hub id of the checkpoint to start from.
        entities: Gives the knowledge base from its beginning each time it is called.
        settings: How to train.
        mining: How hard negatives are mined.
        held_out: Mentions to measure recall on.
        ks: The values of k to measure.
        folder: What the run has on disk.
        workers: The processes that train together.
        write: Takes the figures of the steps, where they are wanted.
        show_progress_bar: True, False, or None for a bar on a terminal only.
    """

    def __init__(
        self,
        base: str | Path,
        entities: Callable[[], Iterable[Entity]],
        settings: TrainingSettings,
        mining: MiningSettings,
        held_out: list[Mention] | None,
        ks: list[int],
        folder: RunFolder,
        workers: Workers,
        write: Writer | None,
        show_progress_bar: bool | None,
    ) -> None:
        self._base = base
        self._entities = entities
        self._settings = settings
        self._mining = mining
        self._held_out = held_out
        self._ks = ks
        self._folder = folder
        self._workers = workers
        self._write = write
        self._show = show_progress_bar if workers.is_main else False
        self._index: EntityIndex | None = None
        self._golds: set[str] = set()
        self._entities_in_all = 0

    def train(self, mentions: list[Mention], output: Path) -> TrainingResult:
        """Train all stages that are not finished yet and write the model folder.

        Args:
            mentions: Training mentions.
            output: The model folder to write.

        Returns:
            What each stage gave.
        """
        encoder = self._prepared(resolve_model(self._base))
        if self._settings.kb_mentions:
            for entity in self._entities():
                mentions += mentions_of_entity(entity, self._settings.kb_mentions, self._settings.seed)
        examples, data = self._started(encoder, mentions)
        folder = self._folder
        try:
            for stage in range(len(folder.stages) + 1, self._settings.stages + 1):
                mining = None
                if stage > 1:
                    encoder = self._prepared(folder.model(stage - 1))
                    mined, mining = self._mined(encoder, mentions, stage)
                    examples = self._examples(encoder, self._entities(), mined)
                self._stage(stage, encoder, examples, mining)
        except BaseException as error:
            if self._workers.is_main:
                self._stopped(error)
            raise
        stages = [StageResult(**record) for record in folder.stages]
        best = max(reversed(stages), key=lambda stage: stage.mean_recall)
        if self._workers.is_main:
            self._publish(best, output, data)
        self._workers.wait()
        return TrainingResult(output, stages, best, self._workers.is_main)

    def _started(self, encoder: EntityEncoder, mentions: list[Mention]) -> tuple[Examples, dict[str, Any]]:
        """Make the first examples, check what can be known beforehand, and open the folder of the run."""
        knowledge_base, trained, measured = Checksum(), Checksum(), Checksum()
        examples = self._examples(encoder, knowledge_base.over(self._entities()), trained.over(mentions))
        for _ in measured.over(self._held_out or ()):
            pass
        self._entities_in_all = knowledge_base.count
        self._golds = {one for mention in mentions for one in mention.entity_ids}
        self._check_size(encoder, examples)
        data = {
            "knowledge_base": knowledge_base.to_record(),
            "train": trained.to_record() | {"mentions": len(examples), "entities": examples.golds},
            "eval": None if self._held_out is None else measured.to_record(),
        }
        if self._workers.is_main:
            self._folder.open(
                {
                    "settings": asdict(self._settings),
                    "mining": asdict(self._mining),
                    "data": data,
                    "model": encoder.fingerprint,
                    "processes": self._workers.size,
                }
            )
        self._folder.stages = self._workers.from_main(self._folder.stages)
        return examples, data

    def _stopped(self, error: BaseException) -> None:
        """Leave the folder of the run in a state from which one can go on, and say so."""
        if isinstance(error, DivergedError):
            shutil.rmtree(self._folder.checkpoints(len(self._folder.stages) + 1), ignore_errors=True)
        self._folder.discard_if_empty()
        if self._folder.path.exists():
            logger.warning("what was finished is in %s; go on with resume=True (--resume)", self._folder.path)

    def _prepared(self, folder: Path) -> EntityEncoder:
        """Load a checkpoint with everything that training needs: markers, embeddings for them, towers, dropout."""
        settings = self._settings
        set_seed(settings.seed)
        model = DualEncoder.from_pretrained(
            folder, emb_pooler_type=settings.emb_pooler_type, normalize=settings.normalize
        )
        tokenizer = load_tokenizer(folder)
        declare_markers(tokenizer)
        model.resize_token_embeddings(len(tokenizer))
        if settings.towers == 2:
            model.separate_towers()
        elif model.towers == 2:
            raise TrainingError(f"{folder} has two towers; set model.towers to 2 to train it")
        if settings.dropout is not None:
            set_dropout(model, settings.dropout)
        model.to(self._workers.device)
        return EntityEncoder(model, entity_tokenizer(tokenizer, folder, settings.max_length), str(folder))

    def _examples(self, encoder: EntityEncoder, entities: Iterable[Entity], mentions: Iterable[Mention]) -> Examples:
        settings = self._settings
        return Examples(
            entities,
            mentions,
            encoder.tokenizer,
            skip_unknown=settings.skip_unknown,
            whole=settings.random_negatives > 0,
        )

    def _check_size(self, encoder: EntityEncoder, examples: Examples) -> None:
        """Say before hours are spent what would go wrong at their end."""
        batch = self._settings.batch_size * self._workers.size
        if len(examples) < batch and self._workers.is_main:
            logger.warning(
                "a batch of %d is more than the %d training mentions; one batch holds all", batch, len(examples)
            )
        parent = self._folder.path.parent
        parent.mkdir(parents=True, exist_ok=True)
        needed = _COPIES * sum(p.numel() * p.element_size() for p in encoder.model.parameters())
        free = shutil.disk_usage(parent).free
        if free < needed:
            raise TrainingError(
                f"{parent} has {free / 1e9:.1f} GB free and the checkpoints of a run need {needed / 1e9:.1f} GB; "
                "make room or write to another disk"
            )

    def _mined(
        self, encoder: EntityEncoder, mentions: list[Mention], stage: int
    ) -> tuple[list[Mention], dict[str, Any] | None]:
        """Hard negatives for a stage, from the model of the stage before."""
        file, report = self._folder.negatives(stage), self._folder.path / f"mining-{stage}.json"
        mined: MiningReport | None = None
        if self._workers.is_main and not file.exists():
            index = self._index or self._indexed(encoder)
            result = mine_negatives(encoder, index, mentions, self._mining, show_progress_bar=self._show)
            mined = result.report
            with disk_errors(file):
                write_json(report, mined.to_record())
                write_negatives(file, result, index)
            logger.info("mined %d hard negatives for %d mentions", mined.negatives, mined.mentions)
        self._index = None
        self._workers.wait()
        return list(read_mentions(file)), json.loads(report.read_text(encoding="utf-8"))

    def _stage(self, stage: int, encoder: EntityEncoder, examples: Examples, mining: dict[str, Any] | None) -> None:
        set_seed(self._settings.seed + 1000 * stage + self._workers.rank)
        loop = Loop(
            encoder,
            examples,
            self._settings,
            stage,
            self._workers,
            self._folder.checkpoints(stage),
            evaluate=lambda: self._measured(encoder, self._sample()),
            write=self._write,
            show_progress_bar=self._show,
        )
        started = time.monotonic()
        loop.run()
        seconds = time.monotonic() - started
        if not loop.has_learned and self._workers.is_main:
            logger.warning(
                "the model has not learned: its loss %.3f is that of guessing. From random weights try dropout=0, "
                "a higher learning rate or more epochs",
                loop.progress.losses[-1],
            )
        evaluation: Evaluation | None = None
        if self._workers.is_main:
            with disk_errors(self._folder.model(stage)), replace_folder(self._folder.model(stage)) as draft:
                sections = merged(self._settings.to_sections(), self._mining.to_sections())
                write_model_folder(draft, encoder.model, encoder.tokenizer, sections)
            # The model is safe on disk before anything is done with it.
            trained = EntityEncoder(encoder.model, encoder.tokenizer, str(self._folder.model(stage)))
            if self._held_out is not None or stage < self._settings.stages:
                self._index = self._indexed(trained)
            if self._held_out is not None and self._index is not None:
                evaluation = self._measured(trained, index=self._index)
                logger.info("stage %d: %s", stage, evaluation)
            progress = loop.progress
            result = StageResult(
                stage=stage,
                losses=progress.losses,
                collapsed=not loop.has_learned,
                steps=progress.step,
                best_step=progress.best_step or progress.step,
                seconds=round(seconds, 1),
                mining=mining,
                evaluation=None if evaluation is None else evaluation.to_record(),
            )
            self._folder.finish_stage(asdict(result))
        self._folder.stages = self._workers.from_main(self._folder.stages)

    def _indexed(self, encoder: EntityEncoder, entities: Iterable[Entity] | None = None) -> EntityIndex:
        fresh = EntityEncoder(encoder.model, encoder.tokenizer, encoder.name)
        return build_index(fresh, self._entities() if entities is None else entities, show_progress_bar=self._show)

    def _measured(
        self, encoder: EntityEncoder, entities: Iterable[Entity] | None = None, index: EntityIndex | None = None
    ) -> Evaluation:
        # The weights change from one measurement to the next, and with them the fingerprint.
        fresh = EntityEncoder(encoder.model, encoder.tokenizer, encoder.name)
        index = index or self._indexed(fresh, entities)
        return evaluate(fresh, index, self._held_out or (), ks=self._ks, seen=self._golds, show_progress_bar=self._show)

    def _sample(self) -> Iterator[Entity]:
        """The knowledge base for measurements on the way: all gold entities and a sample of the others."""
        most = self._settings.eval_max_entities
        wanted = {one for mention in self._held_out or () for one in mention.entity_ids}
        random = np.random.default_rng(self._settings.seed)
        drawn = random.random(self._entities_in_all) < max(0, most - len(wanted)) / self._entities_in_all
        for entity, taken in zip(self._entities(), drawn, strict=True):
            if self._entities_in_all <= most or taken or entity.id in wanted:
                yield entity

    def _publish(self, best: StageResult, output: Path, data: dict[str, Any]) -> None:
        """Put the model of the best stage, with the record of the run, into its place."""
        record: dict[str, Any] = {
            "base_model": str(self._base),
            "settings": asdict(self._settings),
            "mining": asdict(self._mining) if self._settings.stages > 1 else None,
            "processes": self._workers.size,
            "device": str(self._workers.device),
            "data": data,
            "stage": best.stage,
            "losses": best.losses,
            "collapsed": best.collapsed,
            "evaluation": best.evaluation,
            "stages": self._folder.stages,
            "versions": _versions(),
        }
        with disk_errors(output), replace_folder(output) as draft:
            shutil.copytree(self._folder.model(best.stage), draft, dirs_exist_ok=True)
            record["files"] = sorted(path.name for path in draft.iterdir())
            write_json(draft / RECORD_FILE, record)
        self._folder.remove()


def _versions() -> dict[str, str]:
    return {
        "modelscope_plugin": __version__,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
    }
