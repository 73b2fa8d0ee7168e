"""The stages of a training run, from the base checkpoint to the best model.

Stage one has in-batch negatives; before each further stage the model mines hard negatives over the whole knowledge
base, and is trained on with them (Wu et al. 2020; the model card has two stages).
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from transformers import set_seed

from modelscope_plugin.config.configuration import default_configuration, merged
from modelscope_plugin.config.training_settings import MiningSettings, TrainingSettings
from modelscope_plugin.data.checksum import Checksum
from modelscope_plugin.data.golds import merge_golds
from modelscope_plugin.data.kb_mentions import mentions_of_entity
from modelscope_plugin.data.records import Entity, Mention
from modelscope_plugin.data.views import ViewSettings
from modelscope_plugin.encoding.encoder import EntityEncoder
from modelscope_plugin.errors import InputError, NotFiniteError, TrainingError
from modelscope_plugin.evaluation.evaluation import Evaluation, evaluate
from modelscope_plugin.modeling.checkpoint_files import entity_tokenizer, load_tokenizer
from modelscope_plugin.modeling.dual_encoder import DualEncoder
from modelscope_plugin.modeling.model_folder import write_model_folder
from modelscope_plugin.modeling.tokenization import declare_markers
from modelscope_plugin.retrieval.building import build_index
from modelscope_plugin.retrieval.entity_index import EntityIndex
from modelscope_plugin.storage.files import replace_folder, write_json
from modelscope_plugin.training.examples import Examples
from modelscope_plugin.training.loop import DivergedError, Loop, Writer, set_dropout
from modelscope_plugin.training.mining import mine_negatives
from modelscope_plugin.training.record import finished_run, versions, write_record
from modelscope_plugin.training.results import StageResult, TrainingResult
from modelscope_plugin.training.run_folder import RunFolder
from modelscope_plugin.training.training_state import disk_errors
from modelscope_plugin.training.workers import Workers

logger = logging.getLogger(__name__)

# Copies of the weights that a run has on disk at once, beside the models of stages: two checkpoints with both moments
# of AdamW and the best weights.
_COPIES = 7


class Stages:
    """A training run, as one of the processes that train together goes through it.

    Args:
        base: Folder of the checkpoint to start from.
        base_name: What it is called in the record: a hub id, or its path.
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
        base: Path,
        base_name: str,
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
        self._base_name = base_name
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

    def train(self, mentions: Iterable[Mention], output: Path, resume: bool) -> TrainingResult:
        """Train all stages that are not finished yet and write the model folder.

        Args:
            mentions: Training mentions.
            output: The model folder to write.
            resume: Whether an interrupted run may be gone on with.

        Returns:
            What each stage gave.
        """
        try:
            return self._train(mentions, output, resume)
        except BaseException:
            if self._workers.is_main:
                self._stopped()
            raise
        finally:
            self._folder.close()

    def _train(self, mentions: Iterable[Mention], output: Path, resume: bool) -> TrainingResult:
        settings, folder = self._settings, self._folder
        self._workers.on_main(lambda: folder.check(resume))
        encoder = self._prepared(self._base)
        given = merge_golds(mentions)
        self._golds = {one for mention in given for one in mention.entity_ids}
        if settings.kb_mentions:
            given += merge_golds(
                mention
                for entity in self._entities()
                for mention in mentions_of_entity(entity, settings.kb_mentions, settings.seed)
            )
        examples, data = self._read(encoder, given)
        identity = self._identity(encoder, data)
        finished = self._workers.on_main(
            lambda: finished_run(output, identity) if resume and not folder.is_started else None
        )
        if finished is not None:
            self._workers.log(logger, logging.INFO, "%s is the finished model of this very training", output)
            return TrainingResult(output, *finished, self._workers.is_main)
        folder.stages = self._workers.on_main(lambda: folder.open(identity))
        self._workers.on_main(lambda: self._check_disk(encoder))
        for stage in range(len(folder.stages) + 1, settings.stages + 1):
            mining = None
            if stage > 1:
                encoder = self._prepared(folder.model(stage - 1))
                mined, mining = self._mined(encoder, given, stage)
                if not mining["negatives"]:
                    self._workers.log(
                        logger,
                        logging.WARNING,
                        "mining found no hard negative; the stages from %d on are left out",
                        stage,
                    )
                    break
                examples = self._examples(encoder, self._entities(), mined)
            self._stage(stage, encoder, examples, mining)
        stages = [StageResult(**record) for record in folder.stages]
        best = max(reversed(stages), key=lambda stage: stage.mean_recall)
        self._workers.on_main(lambda: self._publish(best, output, identity))
        return TrainingResult(output, stages, best, self._workers.is_main)

    def _read(self, encoder: EntityEncoder, mentions: list[Mention]) -> tuple[Examples, dict[str, Any]]:
        """Make the first examples, and check what can be known beforehand."""
        knowledge_base, trained, measured = Checksum(), Checksum(), Checksum()
        wanted = {one for mention in self._held_out or () for one in mention.entity_ids}
        known: set[str] = set()

        def noted(entities: Iterable[Entity]) -> Iterator[Entity]:
            for entity in entities:
                if entity.id in wanted:
                    known.add(entity.id)
                yield entity

        examples = self._examples(encoder, noted(knowledge_base.over(self._entities())), trained.over(mentions))
        for _ in measured.over(self._held_out or ()):
            pass
        self._entities_in_all = knowledge_base.count
        self._check_golds(wanted, known)
        self._check_batch(examples)
        data: dict[str, Any] = {
            "knowledge_base": knowledge_base.to_record(),
            "train": {**trained.to_record(), **examples.counts},
            "eval": None if self._held_out is None else measured.to_record(),
        }
        return examples, data

    def _identity(self, encoder: EntityEncoder, data: dict[str, Any]) -> dict[str, Any]:
        """All that decides what the run gives."""
        return {
            "base_model": encoder.fingerprint,
            "settings": asdict(self._settings),
            "mining": asdict(self._mining),
            "ks": self._ks,
            "data": data,
            "processes": self._workers.size,
            "device": self._workers.device.type,
            "versions": versions(),
        }

    def _stopped(self) -> None:
        """Leave the folder of the run in a state from which one can go on, and say so."""
        folder = self._folder
        if not folder.is_open:
            return
        folder.discard_if_empty()
        unfinished = folder.rescued(len(folder.stages) + 1)
        if unfinished.exists():
            logger.warning(
                "the latest checkpoint is saved as the model %s; train it further from there, or delete %s and start "
                "anew",
                unfinished, folder.path,
            )  # fmt: skip
        elif folder.path.exists():
            logger.warning("what was finished is in %s; go on with resume=True (--resume)", folder.path)

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
            views=settings.views,
        )

    def _check_golds(self, wanted: set[str], known: set[str]) -> None:
        """Evaluation against the wrong knowledge base would be found out after training."""
        missing = wanted - known
        if wanted and not known:
            raise InputError(
                f"the knowledge base lacks every gold entity of the evaluation mentions ({min(missing)!r}, for one); "
                "check that both files belong together"
            )
        if missing:
            self._workers.log(
                logger, logging.WARNING,
                "the knowledge base lacks %d of %d gold entities of the evaluation mentions (%r, for one); their "
                "mentions count as missed",
                len(missing), len(wanted), min(missing),
            )  # fmt: skip

    def _check_batch(self, examples: Examples) -> None:
        """Say what is trained on, and where it is less than the settings ask for."""
        batch, counts = self._settings.batch_size * self._workers.size, examples.counts
        self._workers.log(
            logger,
            logging.WARNING if counts["unknown"] else logging.INFO,
            "training on %d mentions of %d entities; left out: %d NIL, %d unlabelled, %d of unknown entities",
            *(counts[name] for name in ("mentions", "entities", "nil", "unlabelled", "unknown")),
        )
        if len(examples) < batch:
            self._workers.log(
                logger, logging.WARNING,
                "a batch of %d is more than the %d training mentions; one batch holds all", batch, len(examples),
            )  # fmt: skip

    def _check_disk(self, encoder: EntityEncoder) -> None:
        """What is still to be written has to fit."""
        to_train = self._settings.stages - len(self._folder.stages)
        copies = 1 + (to_train + _COPIES if to_train else 0)
        needed = copies * sum(p.numel() * p.element_size() for p in encoder.model.parameters())
        parent = self._folder.path.parent
        free = shutil.disk_usage(parent).free + (self._folder.size() if to_train else 0)
        if free < needed:
            raise TrainingError(
                f"{parent} has {free / 1e6:,.0f} MB free and the checkpoints of a run need {needed / 1e6:,.0f} MB; "
                "make room or write to another disk"
            )

    def _mined(
        self, encoder: EntityEncoder, mentions: list[Mention], stage: int
    ) -> tuple[list[Mention], dict[str, Any]]:
        """Mentions with hard negatives for a stage, from the model of the stage before, and the report on them."""
        file = self._folder.negatives(stage)

        def mine() -> None:
            if file.exists():
                return
            index = self._index or self._indexed(encoder)
            # Each round draws others.
            settings = replace(self._mining, seed=self._mining.seed + stage)
            mined = mine_negatives(encoder, index, mentions, settings, show_progress_bar=self._show)
            negatives = [
                [place, list(mention.negatives)] for place, mention in zip(mined.places, mined.mentions, strict=True)
            ]
            with disk_errors(file):
                write_json(file, {"report": mined.report.to_record(), "negatives": negatives})
            logger.info("mined %d hard negatives for %d mentions", mined.report.negatives, mined.report.mentions)

        self._workers.on_main(mine)
        self._index = None
        record = json.loads(file.read_text(encoding="utf-8"))
        filled = [replace(mentions[place], negatives=tuple(negatives)) for place, negatives in record["negatives"]]
        return filled, record["report"]

    def _stage(self, stage: int, encoder: EntityEncoder, examples: Examples, mining: dict[str, Any] | None) -> None:
        set_seed(self._settings.seed + 1000 * stage + self._workers.rank)
        loop = Loop(
            encoder,
            examples,
            self._settings,
            stage,
            self._workers,
            self._folder.checkpoints(stage),
            evaluate=lambda: self._measured_on_the_way(encoder),
            write=self._write,
            show_progress_bar=self._show,
        )
        try:
            loop.run()
        except DivergedError:
            self._workers.on_main(lambda: self._rescue(stage, encoder, loop))
            raise
        # All have read the best weights before the checkpoints go.
        self._workers.on_main(lambda: None)
        self._folder.stages = self._workers.on_main(lambda: self._finish(stage, encoder, loop, mining))

    def _rescue(self, stage: int, encoder: EntityEncoder, loop: Loop) -> None:
        """Make a model of the latest checkpoint; going on from it would lead to where the run has come."""
        if loop.restore():
            self._save(self._folder.rescued(stage), encoder)
        shutil.rmtree(self._folder.checkpoints(stage), ignore_errors=True)

    def _save(self, folder: Path, encoder: EntityEncoder) -> None:
        with disk_errors(folder), replace_folder(folder) as draft:
            sections = merged(self._settings.to_sections(), self._mining.to_sections())
            configuration = merged(default_configuration(), sections)
            write_model_folder(draft, encoder.model, encoder.tokenizer, configuration)

    def _finish(
        self, stage: int, encoder: EntityEncoder, loop: Loop, mining: dict[str, Any] | None
    ) -> list[dict[str, Any]]:
        """Save the model of a stage, then measure it; the records of all stages so far."""
        progress, model = loop.progress, self._folder.model(stage)
        if not loop.guessing:
            logger.warning("no batch held a negative; raise batch_size or random_negatives")
        elif not loop.has_learned:
            logger.warning(
                "the model has not learned: its loss %.3f is that of guessing. From random weights try dropout=0, "
                "a higher learning rate or more epochs",
                progress.losses[-1],
            )
        self._save(model, encoder)
        # The model is safe on disk before anything is done with it.
        trained = EntityEncoder(encoder.model, encoder.tokenizer, str(model))
        evaluation: Evaluation | None = None
        if self._held_out is not None or stage < self._settings.stages:
            self._index = self._indexed(trained)
        if self._held_out is not None and self._index is not None:
            evaluation = self._measured(trained, self._index, by_ambiguity=True)
            logger.info("stage %d: %s", stage, evaluation)
            if self._write is not None:
                for name, value in evaluation.figures().items():
                    self._write(f"stage_{stage}/whole_{name}", value, progress.step)
        result = StageResult(
            stage=stage,
            losses=progress.losses,
            collapsed=not loop.has_learned,
            steps=progress.step,
            best_step=progress.best_step or progress.step,
            seconds=round(progress.seconds, 1),
            mining=mining,
            evaluation=None if evaluation is None else evaluation.to_record(),
        )
        self._folder.finish_stage(asdict(result))
        return self._folder.stages

    def _indexed(self, encoder: EntityEncoder, entities: Iterable[Entity] | None = None) -> EntityIndex:
        entities = self._entities() if entities is None else entities
        try:
            views = ViewSettings(self._settings.views)
            return build_index(encoder, entities, views=views, show_progress_bar=self._show)
        except NotFiniteError as error:
            # Weights that are numbers but no model any more give vectors that are none.
            raise DivergedError(f"{error}; lower the learning rate") from error

    def _measured_on_the_way(self, encoder: EntityEncoder) -> Evaluation:
        # An encoder keeps its fingerprint, and the weights have changed since the last time.
        current = EntityEncoder(encoder.model, encoder.tokenizer, encoder.name)
        return self._measured(current, self._indexed(current, self._sample()))

    def _measured(self, encoder: EntityEncoder, index: EntityIndex, by_ambiguity: bool = False) -> Evaluation:
        return evaluate(
            encoder,
            index,
            self._held_out or (),
            ks=self._ks,
            seen=self._golds,
            by_ambiguity=by_ambiguity,
            show_progress_bar=self._show,
        )

    def _sample(self) -> Iterator[Entity]:
        """The knowledge base for measurements on the way: all gold entities and a sample of the others."""
        most = self._settings.eval_max_entities
        wanted = {one for mention in self._held_out or () for one in mention.entity_ids}
        random = np.random.default_rng(self._settings.seed)
        drawn = random.random(self._entities_in_all) < max(0, most - len(wanted)) / self._entities_in_all
        for entity, taken in zip(self._entities(), drawn, strict=True):
            if self._entities_in_all <= most or taken or entity.id in wanted:
                yield entity

    def _publish(self, best: StageResult, output: Path, identity: dict[str, Any]) -> None:
        """Put the model of the best stage, with the record of the run, into its place."""
        with disk_errors(output), replace_folder(output) as draft:
            shutil.copytree(self._folder.model(best.stage), draft, dirs_exist_ok=True)
            write_record(draft, identity, self._base_name, best, self._folder.stages)
        self._folder.remove()
