"""Entity retrieval for ModelScope: link mentions in Chinese text to your own knowledge base.

``import modelscope_plugin`` registers the pipelines, the preprocessors, the models and the trainer with
ModelScope. It imports neither ModelScope nor torch itself; the public names below are loaded when they are
first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from modelscope_plugin.modelscope_adapter.after_import import after_import
from modelscope_plugin.modelscope_adapter.local_server import read_folders_locally
from modelscope_plugin.modelscope_adapter.registration import register
from modelscope_plugin.version import __version__

if TYPE_CHECKING:
    from modelscope_plugin.data import Document, Entity, Mention, read_documents, read_entities, read_mentions
    from modelscope_plugin.data.views import ViewSettings
    from modelscope_plugin.encoding import CrossEncoder, EntityEncoder
    from modelscope_plugin.errors import PluginError
    from modelscope_plugin.evaluation.evaluate import evaluate
    from modelscope_plugin.linking.linker import EntityLinker
    from modelscope_plugin.publishing.export.export_model import export_model
    from modelscope_plugin.publishing.publish import publish_model
    from modelscope_plugin.retrieval import Candidate, EntityIndex
    from modelscope_plugin.retrieval.building import build_index, tune_index

_PUBLIC = {
    "Candidate": "retrieval",
    "CrossEncoder": "encoding",
    "Document": "data",
    "Entity": "data",
    "EntityEncoder": "encoding",
    "EntityIndex": "retrieval",
    "EntityLinker": "linking.linker",
    "Mention": "data",
    "PluginError": "errors",
    "ViewSettings": "data.views",
    "build_index": "retrieval.building",
    "evaluate": "evaluation.evaluate",
    "export_model": "publishing.export.export_model",
    "publish_model": "publishing.publish",
    "read_documents": "data",
    "read_entities": "data",
    "read_mentions": "data",
    "tune_index": "retrieval.building",
}

__all__ = [
    "Candidate",
    "CrossEncoder",
    "Document",
    "Entity",
    "EntityEncoder",
    "EntityIndex",
    "EntityLinker",
    "Mention",
    "PluginError",
    "ViewSettings",
    "__version__",
    "build_index",
    "evaluate",
    "export_model",
    "publish_model",
    "read_documents",
    "read_entities",
    "read_mentions",
    "tune_index",
]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_PUBLIC[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})


register()
after_import("modelscope.utils.input_output", read_folders_locally)
