"""How ModelScope finds the classes of this package.

ModelScope looks a type up in an index of module paths before it asks its registries, and imports the
module it finds there; the decorators in that module then fill the registry. So this package only adds its
modules to that index: nothing heavy is imported before it is used, and ModelScope does not warn about
types that are "not found in ast index file".

The index belongs to ``modelscope.utils.import_utils``. If that is loaded already, the entries are made at
once, otherwise right after it has been loaded. The same way ModelScope's server learns to open a folder.
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

from modelscope_plugin.local_server import read_folders_locally
from modelscope_plugin.metainfo import Metrics, Models, Pipelines, Preprocessors, Tasks, Trainers

_PACKAGE = __package__

# (registry, group, name): module that registers it when it is imported.
_MODULES = {
    ("MODELS", Tasks.sentence_embedding, Models.entity_embedding): "models.entity_embedding_model",
    ("PREPROCESSORS", "nlp", Preprocessors.entity_embedding): "preprocessors.entity_embedding_preprocessor",
    ("PIPELINES", Tasks.sentence_embedding, Pipelines.entity_embedding): "pipelines.entity_embedding_pipeline",
    ("PIPELINES", Tasks.entity_linking, Pipelines.entity_linking): "pipelines.entity_linking_pipeline",
    ("PIPELINES", Tasks.entity_linking, Pipelines.entity_embedding): "pipelines.entity_linking_pipeline",
    ("PIPELINES", Tasks.entity_linking, "sentence-embedding"): "pipelines.entity_linking_pipeline",
    ("TRAINERS", "default", Trainers.entity_embedding): "trainers.entity_embedding_trainer",
    ("METRICS", "default", Metrics.entity_recall): "metrics.entity_recall_metric",
    # Built-in names that this package stands in for where the built-in cannot run.
    ("MODELS", Tasks.sentence_embedding, "bert"): "builtin",
    ("PREPROCESSORS", "nlp", "sentence-embedding"): "builtin",
    ("PIPELINES", Tasks.sentence_embedding, "sentence-embedding"): "builtin",
}


def _fill_index(import_utils: ModuleType) -> None:
    from modelscope.metainfo import DEFAULT_MODEL_FOR_PIPELINE

    entries = import_utils.LazyImportModule.get_ast_index()["index"]
    for signature, module in _MODULES.items():
        entries[signature] = {"filepath": "", "imports": [], "module": f"{_PACKAGE}.{module}"}
    # pipeline('entity-linking', index=...) without a model: the index names it.
    DEFAULT_MODEL_FOR_PIPELINE.setdefault(Tasks.entity_linking, (Pipelines.entity_linking, None))


_AFTER_IMPORT: dict[str, Callable[[ModuleType], None]] = {
    "modelscope.utils.import_utils": _fill_index,
    "modelscope.utils.input_output": read_folders_locally,
}


def register() -> None:
    """Make ModelScope aware of this package, now or as soon as ModelScope is imported."""
    waiting = {finder.name for finder in sys.meta_path if isinstance(finder, _AfterImport)}
    for name, action in _AFTER_IMPORT.items():
        if name in sys.modules:
            action(sys.modules[name])
        elif name not in waiting:
            sys.meta_path.insert(0, _AfterImport(name, action))


class _AfterImport(importlib.abc.MetaPathFinder):
    """Runs an action once a module of ModelScope has been loaded, then steps out of the way."""

    def __init__(self, name: str, action: Callable[[ModuleType], None]) -> None:
        self.name = name
        self._action = action

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self.name:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader, self._action)
        return spec


class _Loader(importlib.abc.Loader):
    """Wraps the loader of ModelScope's module."""

    def __init__(self, loader: importlib.abc.Loader, action: Callable[[ModuleType], None]) -> None:
        self._loader = loader
        self._action = action

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        self._action(module)
