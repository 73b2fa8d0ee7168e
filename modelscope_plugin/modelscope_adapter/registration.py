"""Lets ModelScope find the classes of this package.

ModelScope looks a type up in an index of modules before it asks its registries, and imports the module that the index
names; the decorators in that module then fill the registry. So this package only adds its modules to that index:
nothing heavy is imported before it is used, and ModelScope does not warn about types that are "not found in ast index
file".

The index belongs to ``modelscope.utils.import_utils``. If that is loaded already, the entries are added at once,
otherwise right after it has been loaded.

This module also runs as part of the copy of the code that a standalone model folder carries. If the package is
installed, or the copy of another folder was imported before, this copy registers nothing: the same code serves all
models of a process. If it differs from the code that the folder carries, a warning is logged.
"""

from __future__ import annotations

import importlib.util
import logging
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, TypeVar

from modelscope_plugin.config.metainfo import Metrics, Models, Pipelines, Preprocessors, Tasks, Trainers
from modelscope_plugin.modelscope_adapter.after_import import after_import

_MODELSCOPE_MODULE = "modelscope.utils.import_utils"
_INSTALLED = "modelscope_plugin"
_PACKAGE = __name__.removesuffix(".modelscope_adapter.registration")
_PIPELINES = "modelscope_adapter.pipelines"

ENTITY_LINKING_NAMES = (Pipelines.entity_linking, Pipelines.entity_embedding, "sentence-embedding")
"""Names of the entity-linking pipeline: its own, and those of the embedding pipeline, for ModelScope takes the name
from a model's configuration.json, which describes the embedding pipeline."""

# The module that registers a class when it is imported, by registry, group and name.
_MODULES = {
    ("MODELS", Tasks.sentence_embedding, Models.entity_embedding): "modelscope_adapter.models",
    ("MODELS", Tasks.text_ranking, Models.entity_cross_encoder): "modelscope_adapter.cross_encoder",
    ("PREPROCESSORS", "nlp", Preprocessors.entity_embedding): "modelscope_adapter.preprocessors",
    ("PREPROCESSORS", "nlp", Preprocessors.entity_cross_encoder): "modelscope_adapter.cross_encoder",
    ("PIPELINES", Tasks.text_ranking, Pipelines.entity_cross_encoder): f"{_PIPELINES}.text_ranking",
    ("PIPELINES", Tasks.sentence_embedding, Pipelines.entity_embedding): f"{_PIPELINES}.sentence_embedding",
    **{("PIPELINES", Tasks.entity_linking, name): f"{_PIPELINES}.entity_linking" for name in ENTITY_LINKING_NAMES},
    ("TRAINERS", "default", Trainers.entity_embedding): "modelscope_adapter.trainers",
    ("TRAINERS", "default", Trainers.entity_reranking): "modelscope_adapter.reranker_trainer",
    ("METRICS", "default", Metrics.entity_recall): "modelscope_adapter.metrics",
    # Names of the built-in BERT models, replaced only if these cannot be imported.
    ("MODELS", Tasks.sentence_embedding, "bert"): "modelscope_adapter.builtin_replacement",
    ("PREPROCESSORS", "nlp", "sentence-embedding"): "modelscope_adapter.builtin_replacement",
    ("PIPELINES", Tasks.sentence_embedding, "sentence-embedding"): "modelscope_adapter.builtin_replacement",
    ("MODELS", Tasks.text_ranking, "bert"): "modelscope_adapter.builtin_replacement",
    ("PREPROCESSORS", "nlp", "text-ranking"): "modelscope_adapter.builtin_replacement",
    ("PIPELINES", Tasks.text_ranking, "text-ranking"): "modelscope_adapter.builtin_replacement",
}

_Class = TypeVar("_Class", bound=type)


class _ModuleName(str):
    """The name of a module of this package, which gives the package for a suffix of any version.

    The code in standalone folders of version 0.1 looks for the package by taking its own module paths off this name.
    """

    def removesuffix(self, _suffix: str, /) -> str:
        return _PACKAGE


logger = logging.getLogger(__name__)


def register() -> None:
    """Make ModelScope aware of this package, now or as soon as ModelScope is imported."""
    if _PACKAGE != _INSTALLED and _is_installed():
        importlib.import_module(_INSTALLED)
    after_import(_MODELSCOPE_MODULE, _fill_index)


def _is_installed() -> bool:
    # A folder of that name, such as a clone of the repository, is no package.
    spec = importlib.util.find_spec(_INSTALLED)
    return spec is not None and spec.origin is not None


def register_class(registry: Any, group: str, *names: str) -> Callable[[_Class], _Class]:
    """Class decorator that adds a class to one of ModelScope's registries, like ``registry.register_module``.

    Args:
        registry: ``MODELS``, ``PIPELINES``, ...
        group: The task, or another group of that registry.
        *names: The types by which configuration.json may name the class.

    Returns:
        The decorator. A name for which ModelScope's index names another module is left alone; so is every name in a
        copy of this code that registers nothing.
    """

    def decorate(cls: _Class) -> _Class:
        entries = _entries(sys.modules[_MODELSCOPE_MODULE])
        for name in names:
            entry = entries.get((registry.name.upper(), group, name))
            if entry is None or entry["module"] == cls.__module__:
                registry.register_module(group, module_name=name, module_cls=cls)
        return cls

    return decorate


def _fill_index(import_utils: ModuleType) -> None:
    entries = _entries(import_utils)
    if _PACKAGE != _INSTALLED:
        _fill_from_copy(entries)
        return
    entries |= {signature: _entry(module) for signature, module in _MODULES.items()}
    from modelscope.metainfo import DEFAULT_MODEL_FOR_PIPELINE

    # pipeline('entity-linking', index=...) without a model: the index names it.
    DEFAULT_MODEL_FOR_PIPELINE.setdefault(Tasks.entity_linking, (Pipelines.entity_linking, None))


def _fill_from_copy(entries: dict[tuple[str, str, str], dict[str, Any]]) -> None:
    for signature, module in _MODULES.items():
        # A standalone folder carries the code of the embedding pipeline alone.
        if importlib.util.find_spec(f"{_PACKAGE}.{module}") is not None:
            entry = entries.setdefault(signature, _entry(module))
            serving = _package_of(entry["module"])
    mine = sys.modules[_PACKAGE]
    attribute = "__version__" if serving.__name__ == _INSTALLED else "CODE"
    if getattr(serving, attribute) != getattr(mine, attribute):
        logger.warning(
            "%s (version %s) runs a model that carries code of %s (version %s); if it misbehaves, %s",
            serving.__name__,
            serving.__version__,
            _PACKAGE,
            mine.__version__,
            "install that version" if serving.__name__ == _INSTALLED else "load the two models in separate processes",
        )


def _package_of(module: str) -> Any:
    """Return the package, the installed one or a copy, that a module belongs to; rooms have no version."""
    parts = module.split(".")
    parents = (sys.modules.get(".".join(parts[:count])) for count in range(1, len(parts)))
    return next(parent for parent in parents if hasattr(parent, "__version__"))


def _entries(import_utils: ModuleType) -> dict[tuple[str, str, str], dict[str, Any]]:
    entries: dict[tuple[str, str, str], dict[str, Any]] = import_utils.LazyImportModule.get_ast_index()["index"]
    return entries


def _entry(module: str) -> dict[str, Any]:
    return {"filepath": "", "imports": [], "module": _ModuleName(f"{_PACKAGE}.{module}")}
