"""The trainer that ModelScope builds by the name ``entity-embedding-trainer``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from modelscope.trainers.base import BaseTrainer
from modelscope.trainers.builder import TRAINERS
from modelscope.utils.config import Config

from modelscope_plugin.config.configuration import default_configuration_file
from modelscope_plugin.config.evaluation_settings import find_ks
from modelscope_plugin.config.metainfo import Trainers
from modelscope_plugin.config.settings import Settings
from modelscope_plugin.config.training_settings import (
    RunSettings,
    read_training_configuration,
    read_training_settings,
)
from modelscope_plugin.data.parsing import parse_document, parse_entity
from modelscope_plugin.data.readers import read_entities, read_mentions
from modelscope_plugin.data.records import Entity, Mention
from modelscope_plugin.data.report import ReadReport
from modelscope_plugin.data.views import ViewSettings
from modelscope_plugin.encoding.encoder import EntityEncoder
from modelscope_plugin.errors import InputError, InputTypeError
from modelscope_plugin.evaluation.evaluate import evaluate
from modelscope_plugin.modeling.location import resolve_model
from modelscope_plugin.modelscope_adapter.registration import register_class
from modelscope_plugin.retrieval.indexing import index_entities
from modelscope_plugin.training.record import TrainingResult
from modelscope_plugin.training.training import train

Mentions: TypeAlias = str | Path | Iterable[Mention | Mapping[str, Any]]
KnowledgeBase: TypeAlias = str | Path | Iterable[Entity | Mapping[str, Any]]

OUTPUT_FOLDER = "output"
"""Sub-folder of the work folder with the trained model, as ModelScope's own trainers have it."""


class EntityTrainer(BaseTrainer):
    """What the trainers of this package do alike before they train.

    Args:
        model: Folder or hub id of the model whose configuration.json says how to train.
        train_dataset: Mentions to train on.
        eval_dataset: Mentions to measure.
        cfg_file: A configuration.json laid over the model folder's and the shipped one.
        cfg_modify_fn: Changes the configuration before it is used.
        device: ``cpu``, ``gpu``, ``cuda:1`` ...
        model_revision: Branch or tag of a hub model.
        kinds: Further settings to check in all files.
        unknown: Arguments that the trainer does not know.

    Raises:
        InputError: If an argument is unknown, or a file holds a setting that cannot be used.
    """

    def __init__(
        self,
        *,
        model: str | Path,
        train_dataset: Mentions | None,
        eval_dataset: Mentions | None,
        cfg_file: str | None,
        cfg_modify_fn: Callable[[Any], Any] | None,
        device: str | None,
        model_revision: str | None,
        kinds: Sequence[type[Settings]],
        unknown: Mapping[str, Any],
    ) -> None:
        if unknown:
            raise InputError(f"unknown argument {min(unknown)!r} of the trainer")
        if not isinstance(model, str | Path):
            raise InputTypeError(f"model must be a folder or a hub id, not {type(model).__name__}")
        super().__init__(str(default_configuration_file()))
        self._model, self._model_revision = model, model_revision
        files = {} if cfg_file is None else {Path(cfg_file): Config.from_file(str(cfg_file)).to_dict()}
        folder = resolve_model(model, model_revision)
        self.cfg = Config(read_training_configuration(folder, files, kinds))
        if cfg_modify_fn is not None:
            self.cfg = cfg_modify_fn(self.cfg) or self.cfg
        self.device = device
        self._report = ReadReport()  # one for all readings, which warn once
        # Read twice, for training and for evaluation, so a one-time iterator is kept as a list.
        self._train_dataset = _materialize(train_dataset)
        self._eval_dataset = _materialize(eval_dataset)

    def _find_output(self, work_dir: str | Path | None) -> Path:
        """The model folder to write."""
        return Path(work_dir or RunSettings.from_configuration(self.cfg.to_dict()).work_dir) / OUTPUT_FOLDER

    def _iterate_train_dataset(self) -> Iterable[Mention]:
        return () if self._train_dataset is None else iterate_mentions(self._train_dataset)

    def _iterate_eval_dataset(self) -> Iterable[Mention] | None:
        return None if self._eval_dataset is None else iterate_mentions(self._eval_dataset)


def check_no_arguments(args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Raise `InputError` if ``train`` was given arguments that it does not know."""
    if args or kwargs:
        raise InputError(
            f"unknown argument {min(kwargs, default=args[:1])!r} of train; to resume an interrupted run give "
            "resume=True"
        )


def summarize(result: TrainingResult) -> dict[str, Any]:
    """What ``train`` of a trainer returns: losses, stages, and what was measured."""
    record = result.to_record()
    return {"losses": record["losses"], "stages": record["stages"], **(record["evaluation"] or {})}


@register_class(TRAINERS, "default", Trainers.entity_embedding)
class EntityEmbeddingTrainer(EntityTrainer):
    """``build_trainer('entity-embedding-trainer', default_args={...})``.

    Args:
        model: Folder or hub id of any BERT-family checkpoint.
        knowledge_base: File of entities, or the entities themselves.
        train_dataset: File of mentions, the mentions themselves, or an ``MsDataset`` of records in the
            forms that the file readers know.
        eval_dataset: The same for evaluation.
        work_dir: The model is written to ``work_dir/output``; by default ``train.work_dir``.
        cfg_file: A configuration.json laid over the model folder's and the shipped one.
        cfg_modify_fn: Changes the configuration before it is used.
        seed: Overrides ``train.seed``.
        max_epochs: Overrides ``train.max_epochs``.
        device: ``cpu``, ``gpu``, ``cuda:1`` ...
        model_revision: Branch or tag of a hub model.
        trust_remote_code: ModelScope hands it to every trainer; nothing here runs code of a model folder.
        **kwargs: None; an unknown argument is refused.

    Raises:
        InputError: If a setting is out of its range or an argument is unknown.
    """

    def __init__(
        self,
        model: str | Path,
        knowledge_base: KnowledgeBase,
        train_dataset: Mentions | None = None,
        eval_dataset: Mentions | None = None,
        work_dir: str | Path | None = None,
        cfg_file: str | None = None,
        cfg_modify_fn: Callable[[Any], Any] | None = None,
        seed: int | None = None,
        max_epochs: int | None = None,
        device: str | None = None,
        model_revision: str | None = None,
        trust_remote_code: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            model=model,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            cfg_file=cfg_file,
            cfg_modify_fn=cfg_modify_fn,
            device=device,
            model_revision=model_revision,
            kinds=(ViewSettings,),
            unknown=kwargs,
        )
        self.settings, self.mining = read_training_settings(self.cfg.to_dict(), seed=seed, max_epochs=max_epochs)
        self.output_dir = self._find_output(work_dir)
        self._knowledge_base = knowledge_base if isinstance(knowledge_base, str | Path) else list(knowledge_base)

    def train(self, *args: Any, resume: bool = False, tensorboard: str | None = None, **kwargs: Any) -> dict[str, Any]:
        """Train all stages, write the model folder, and measure recall where there is an evaluation dataset.

        Like ModelScope's own trainers it replaces what an earlier training wrote into ``work_dir/output``.

        Args:
            *args: None.
            resume: Resume an interrupted run of the same call.
            tensorboard: Folder for TensorBoard's files.
            **kwargs: None; an unknown argument is refused.

        Returns:
            ``losses`` of the epochs of the stage whose model was kept, ``stages`` with what each gave and, where
            measured, ``recall@k`` and ``mrr`` of the model that was kept.

        Raises:
            InputError: If there is no training dataset, or an interrupted run is there and ``resume`` is false.
            TrainingError: If no training mention is usable or the knowledge base lacks an entity.
        """
        check_no_arguments(args, kwargs)
        if self._train_dataset is None and not self.settings.kb_mentions:
            raise InputError("no train_dataset; give a file of mentions or the mentions, or set train.kb_mentions")
        result = train(
            self._model,
            self._read_entities,
            self._iterate_train_dataset(),
            self.output_dir,
            self.settings,
            self.mining,
            eval_mentions=self._iterate_eval_dataset(),
            ks=find_ks(self.cfg.to_dict()),
            device=self.device,
            revision=self._model_revision,
            resume=resume,
            overwrite=True,
            tensorboard=tensorboard,
        )
        return summarize(result)

    def evaluate(self, checkpoint_path: str | Path | None = None, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Measure recall over the whole knowledge base.

        Args:
            checkpoint_path: A model folder; by default the one that `train` wrote.
            *args: Not used.
            **kwargs: Not used.

        Returns:
            ``recall@k``, ``mrr`` and counts.

        Raises:
            InputError: If there is no evaluation dataset.
        """
        if self._eval_dataset is None:
            raise InputError("no eval_dataset; give a file of mentions or the mentions")
        encoder = EntityEncoder.from_pretrained(checkpoint_path or self.output_dir, device=self.device)
        configuration = self.cfg.to_dict()
        views = ViewSettings.from_configuration(configuration, max_views=self.settings.views)
        index = index_entities(encoder, self._read_entities(), views=views)
        trained = self._iterate_train_dataset()
        return evaluate(
            encoder,
            index,
            iterate_mentions(self._eval_dataset),
            ks=find_ks(configuration),
            seen={one for mention in trained for one in mention.entity_ids},
            by_ambiguity=True,
        ).to_record()

    def _read_entities(self) -> Iterable[Entity]:
        return iterate_entities(self._knowledge_base, self._report)


def iterate_entities(source: KnowledgeBase, report: ReadReport) -> Iterable[Entity]:
    """The entities of a knowledge base, given as a file or as records."""
    if isinstance(source, str | Path):
        return read_entities(source, report=report)
    return (item if isinstance(item, Entity) else parse_entity(item) for item in source)


def _materialize(source: Mentions | None) -> Mentions | None:
    """A dataset that can be read again: a one-time iterator as a list."""
    return list(source) if isinstance(source, Iterator) else source


def iterate_mentions(source: Mentions) -> Iterable[Mention]:
    """The mentions of a dataset, given as a file, as mentions or as records."""
    if isinstance(source, str | Path):
        yield from read_mentions(source)
        return
    for item in source:
        if isinstance(item, Mention):
            yield item
        elif isinstance(item, Mapping):
            yield from parse_document(item).mentions
        else:
            raise InputTypeError(f"a dataset holds mentions or records, not {type(item).__name__}")
