"""The trainer that ModelScope builds by the name ``entity-reranking-trainer``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from modelscope.trainers.builder import TRAINERS

from modelscope_plugin.config.metainfo import Trainers
from modelscope_plugin.config.reranking_settings import RerankingSettings
from modelscope_plugin.data.records import Entity
from modelscope_plugin.data.views import ViewSettings
from modelscope_plugin.encoding.encoder import EntityEncoder
from modelscope_plugin.errors import InputError
from modelscope_plugin.evaluation.evaluate import evaluate
from modelscope_plugin.linking.linker import load_model_and_index
from modelscope_plugin.linking.reranking.loading import load_reranker
from modelscope_plugin.modelscope_adapter.registration import register_class
from modelscope_plugin.modelscope_adapter.trainers import (
    EntityTrainer,
    KnowledgeBase,
    Mentions,
    check_no_arguments,
    iterate_entities,
    iterate_mentions,
    summarize,
)
from modelscope_plugin.retrieval.building import build_index
from modelscope_plugin.training.reranking.first_step import RETRIEVAL
from modelscope_plugin.training.reranking.training import DEFAULT_KS, train_reranker


@register_class(TRAINERS, "default", Trainers.entity_reranking)
class EntityRerankingTrainer(EntityTrainer):
    """``build_trainer('entity-reranking-trainer', default_args={...})``.

    Args:
        model: Folder or hub id of the dual encoder of the first step.
        knowledge_base: File of entities, or the entities themselves; instead of ``index``.
        index: Folder of an index of the knowledge base.
        base: Folder or hub id of the checkpoint to start from; by default the dual encoder.
        train_dataset: File of mentions, the mentions themselves, or an ``MsDataset`` of records in the forms that the
            file readers know.
        eval_dataset: The same, to measure recall and keep the best epoch.
        work_dir: The model is written to ``work_dir/output``; by default ``train.work_dir``.
        cfg_file: A configuration.json laid over the model folder's and the shipped one.
        cfg_modify_fn: Changes the configuration before it is used; the settings are in ``train.reranking``.
        seed: Overrides ``train.seed``.
        max_epochs: Overrides ``train.reranking.max_epochs``.
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
        knowledge_base: KnowledgeBase | None = None,
        index: str | Path | None = None,
        base: str | Path | None = None,
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
            kinds=(ViewSettings, RerankingSettings),
            unknown=kwargs,
        )
        self._base, self._index = base, index
        configuration = self.cfg.to_dict()
        self.settings = RerankingSettings.from_configuration(configuration, seed=seed, max_epochs=max_epochs)
        self.output_dir = self._find_output(work_dir)
        if not isinstance(knowledge_base, str | Path | None):
            knowledge_base = list(knowledge_base)  # read several times
        self._knowledge_base = knowledge_base

    def train(self, *args: Any, resume: bool = False, tensorboard: str | None = None, **kwargs: Any) -> dict[str, Any]:
        """Train, and write the model folder.

        Like ModelScope's own trainers it replaces what an earlier training wrote into ``work_dir/output``.

        Args:
            *args: None.
            resume: Resume an interrupted run of the same call.
            tensorboard: Folder for TensorBoard's files.
            **kwargs: None; an unknown argument is refused.

        Returns:
            ``losses`` of the epochs, ``stages`` with what was measured and, where there is an evaluation dataset,
            ``recall@k`` and ``mrr`` of the order that the re-ranker alone gives to the candidates of the first step.

        Raises:
            InputError: If there is no training dataset, not one of knowledge base and index, or an interrupted run is
                there and ``resume`` is false.
            TrainingError: If no training mention is usable or the knowledge base lacks an entity.
        """
        check_no_arguments(args, kwargs)
        if self._train_dataset is None and not self.settings.kb_mentions:
            raise InputError(
                "no train_dataset; give a file of mentions or the mentions, or set train.reranking.kb_mentions"
            )
        result = train_reranker(
            self._model,
            self._iterate_train_dataset(),
            self.output_dir,
            self.settings,
            entities=None if self._knowledge_base is None else self._read_entities,
            index=self._index,
            base=self._base,
            eval_mentions=self._iterate_eval_dataset(),
            device=self.device,
            revision=self._model_revision,
            resume=resume,
            overwrite=True,
            tensorboard=tensorboard,
        )
        return summarize(result)

    def evaluate(self, checkpoint_path: str | Path | None = None, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Measure recall of the linker with the re-ranker, over the whole knowledge base.

        Args:
            checkpoint_path: Folder of a re-ranker; by default the one that `train` wrote.
            *args: Not used.
            **kwargs: Not used.

        Returns:
            ``recall@k``, ``mrr`` and counts, and those of the first step alone. The order is that of
            `modelscope_plugin.linking.reranking.second_step.SecondStep`, with weights that were fitted for the index
            and the re-ranker, where there are some.

        Raises:
            InputError: If there is no evaluation dataset.
        """
        if self._eval_dataset is None:
            raise InputError("no eval_dataset; give a file of mentions or the mentions")
        loading: dict[str, Any] = {"device": self.device, "revision": self._model_revision}
        if self._index is not None:
            encoder, index = load_model_and_index(self._model, self._index, **loading)
        else:
            encoder = EntityEncoder.from_pretrained(self._model, **loading)
            views = ViewSettings.from_configuration(self.cfg.to_dict())
            index = build_index(encoder, self._read_entities(), views=views)
        trained = self._iterate_train_dataset()
        return evaluate(
            encoder,
            index,
            iterate_mentions(self._eval_dataset),
            ks=DEFAULT_KS,
            seen={one for mention in trained for one in mention.entity_ids},
            retrieval=RETRIEVAL,
            reranker=load_reranker(checkpoint_path or self.output_dir, device=self.device),
            rerank_top_k=self.settings.rerank_top_k,
        ).to_record()

    def _read_entities(self) -> Iterable[Entity]:
        if self._knowledge_base is None:
            raise InputError("no knowledge_base; give a file of entities, the entities, or an index")
        return iterate_entities(self._knowledge_base, self._report)
