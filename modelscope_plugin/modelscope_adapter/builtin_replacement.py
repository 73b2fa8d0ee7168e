"""Replaces ModelScope's built-in BERT models of sentence embedding and text ranking if they cannot be imported.

With transformers 5 the built-in BERT encoder cannot be imported, so folders whose configuration.json says ``bert`` and
``sentence-embedding`` or ``text-ranking`` do not load. ModelScope imports this module when it looks for one of these
names. What can be imported is not replaced. Otherwise BERT folders get this package's model, preprocessor and pipeline;
folders of other models, which share the names of pipeline and preprocessor, keep the built-in ones.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from modelscope.models.builder import MODELS
from modelscope.pipelines.builder import PIPELINES
from modelscope.preprocessors.builder import PREPROCESSORS
from modelscope.utils.constant import Fields

from modelscope_plugin.config.configuration import read_configuration
from modelscope_plugin.config.metainfo import Tasks
from modelscope_plugin.config.model_settings import find_model_type
from modelscope_plugin.modelscope_adapter.pipelines.base import BatchPipeline
from modelscope_plugin.modelscope_adapter.pipelines.sentence_embedding import EntityEmbeddingPipeline
from modelscope_plugin.modelscope_adapter.pipelines.text_ranking import EntityCrossEncoderPipeline

_BERT = "bert"


@dataclass(frozen=True)
class _Builtin:
    """The built-in classes of a task, and the pipeline of this package that replaces them.

    Attributes:
        task: The task; also the name of pipeline and preprocessor.
        models: Modules without which the model does not work; importing the last one registers it.
        pipeline: Module and class of the pipeline.
        preprocessor: Module and class of the preprocessor.
        ours: The pipeline of this package.
    """

    task: str
    models: tuple[str, ...]
    pipeline: tuple[str, str]
    preprocessor: tuple[str, str]
    ours: type[BatchPipeline]


_BUILTINS = (
    _Builtin(
        Tasks.sentence_embedding,
        ("modelscope.models.nlp.bert.sentence_embedding",),
        ("modelscope.pipelines.nlp.sentence_embedding_pipeline", "SentenceEmbeddingPipeline"),
        (
            "modelscope.preprocessors.nlp.sentence_embedding_preprocessor",
            "SentenceEmbeddingTransformersPreprocessor",
        ),
        EntityEmbeddingPipeline,
    ),
    _Builtin(
        Tasks.text_ranking,
        # It looks for its encoder when a model is made.
        ("modelscope.models.nlp.bert.backbone", "modelscope.models.nlp.bert.text_ranking"),
        ("modelscope.pipelines.nlp.text_ranking_pipeline", "TextRankingPipeline"),
        ("modelscope.preprocessors.nlp.text_ranking_preprocessor", "TextRankingTransformersPreprocessor"),
        EntityCrossEncoderPipeline,
    ),
)


def _can_import(modules: tuple[str, ...]) -> bool:
    try:
        for module in modules:
            importlib.import_module(module)
    except (ImportError, AttributeError):
        return False
    return True


def _replace(builtin: _Builtin) -> None:
    """Register this package's classes for BERT, or the built-in ones if they can be imported."""
    # Importing the built-in modules registers them; then each name gets a choice by model.
    pipeline = getattr(importlib.import_module(builtin.pipeline[0]), builtin.pipeline[1])
    preprocessor = getattr(importlib.import_module(builtin.preprocessor[0]), builtin.preprocessor[1])
    if _can_import(builtin.models):
        return
    ours = builtin.ours

    def is_bert(model: Any) -> bool:
        if isinstance(model, ours.model_class):
            return True
        folder = getattr(model, "model_dir", model)
        return isinstance(folder, str) and find_model_type(read_configuration(folder), folder) == _BERT

    class PipelineByModel:
        """The pipeline of the built-in name: ours for BERT models, the built-in one for others."""

        @classmethod
        def _instantiate(cls, model: Any = None, **kwargs: Any) -> Any:
            chosen = ours if is_bert(model) else pipeline
            return chosen(model=model, **kwargs)

    class PreprocessorByModel:
        """The preprocessor of the built-in name: ours for BERT models, the built-in one for others."""

        @classmethod
        def _instantiate(cls, model_dir: Any = None, **kwargs: Any) -> Any:
            chosen = ours.preprocessor_class if is_bert(model_dir) else preprocessor
            return chosen(model_dir=model_dir, **kwargs)

    MODELS.register_module(builtin.task, module_name=_BERT, module_cls=ours.model_class, force=True)
    PIPELINES.register_module(builtin.task, module_name=builtin.task, module_cls=PipelineByModel, force=True)
    PREPROCESSORS.register_module(Fields.nlp, module_name=builtin.task, module_cls=PreprocessorByModel, force=True)


for _builtin in _BUILTINS:
    _replace(_builtin)
