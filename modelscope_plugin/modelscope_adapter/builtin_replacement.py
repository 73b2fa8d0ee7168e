"""Replaces ModelScope's built-in BERT sentence embedding if that cannot be imported.

With transformers 5 the built-in BERT model cannot be imported, so folders whose configuration.json says
``bert`` and ``sentence-embedding`` do not load. ModelScope imports this module when it looks for one of these
names. If the built-in model can be imported, nothing is replaced. Otherwise BERT folders get this package's
model, preprocessor and pipeline; folders of other models, which share the name ``sentence-embedding`` of pipeline and
preprocessor, keep the built-in ones.
"""

from __future__ import annotations

import importlib
from typing import Any

from modelscope.models.builder import MODELS
from modelscope.pipelines.builder import PIPELINES
from modelscope.preprocessors.builder import PREPROCESSORS
from modelscope.utils.constant import Fields

from modelscope_plugin.config.configuration import read_configuration
from modelscope_plugin.config.metainfo import Tasks
from modelscope_plugin.config.model_settings import find_model_type
from modelscope_plugin.modelscope_adapter.models import EntityEmbeddingModel
from modelscope_plugin.modelscope_adapter.pipelines.sentence_embedding import EntityEmbeddingPipeline
from modelscope_plugin.modelscope_adapter.preprocessors import EntityEmbeddingPreprocessor

_BERT = "bert"
_NAME = "sentence-embedding"


def _is_bert(model: Any) -> bool:
    if isinstance(model, EntityEmbeddingModel):
        return True
    folder = getattr(model, "model_dir", model)
    return isinstance(folder, str) and find_model_type(read_configuration(folder), folder) == _BERT


def _has_builtin_model() -> bool:
    try:
        importlib.import_module("modelscope.models.nlp.bert.sentence_embedding")
    except (ImportError, AttributeError):
        return False
    return True


def _replace_builtin() -> None:
    # Importing the built-in modules registers them; then each name gets a choice by model.
    from modelscope.pipelines.nlp.sentence_embedding_pipeline import SentenceEmbeddingPipeline
    from modelscope.preprocessors.nlp.sentence_embedding_preprocessor import SentenceEmbeddingTransformersPreprocessor

    class PipelineByModel:
        """The pipeline ``sentence-embedding``: ours for BERT models, the built-in one for others."""

        @classmethod
        def _instantiate(cls, model: Any = None, **kwargs: Any) -> Any:
            chosen = EntityEmbeddingPipeline if _is_bert(model) else SentenceEmbeddingPipeline
            return chosen(model=model, **kwargs)

    class PreprocessorByModel:
        """The preprocessor ``sentence-embedding``: ours for BERT models, the built-in one for others."""

        @classmethod
        def _instantiate(cls, model_dir: Any = None, **kwargs: Any) -> Any:
            chosen = EntityEmbeddingPreprocessor if _is_bert(model_dir) else SentenceEmbeddingTransformersPreprocessor
            return chosen(model_dir=model_dir, **kwargs)

    MODELS.register_module(Tasks.sentence_embedding, module_name=_BERT, module_cls=EntityEmbeddingModel, force=True)
    PIPELINES.register_module(Tasks.sentence_embedding, module_name=_NAME, module_cls=PipelineByModel, force=True)
    PREPROCESSORS.register_module(Fields.nlp, module_name=_NAME, module_cls=PreprocessorByModel, force=True)


if _has_builtin_model():
    importlib.import_module("modelscope.pipelines.nlp.sentence_embedding_pipeline")
    importlib.import_module("modelscope.preprocessors.nlp.sentence_embedding_preprocessor")
else:
    _replace_builtin()
