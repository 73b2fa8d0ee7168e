"""The sections ``model``, ``preprocessor`` and ``pipeline`` of configuration.json as settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelscope_plugin.config.configuration import CONFIGURATION_FILE, find_value
from modelscope_plugin.config.settings import Settings, setting
from modelscope_plugin.errors import InputError, ModelFolderError
from modelscope_plugin.types import PoolerType, Retrieval


# fmt: off
@dataclass(frozen=True)
class WindowSettings(Settings):
    """How texts become tokens; the declarations say what each setting does."""

    max_length: int = setting("preprocessor.max_length", least=1, fallback_path="preprocessor.sequence_length",
        help="tokens of a window", zh="窗口 token 数", en="tokens of a window")
    mention_prefix: str = setting("preprocessor.boq", default="", option=None, help="text in front of every mention")
    entity_prefix: str = setting("preprocessor.bod", default="", option=None, help="text in front of every entity")


@dataclass(frozen=True)
class ModelSettings(Settings):
    """How token states become a vector; the declarations say what each setting does."""

    emb_pooler_type: PoolerType = setting("model.emb_pooler_type", option="--pooling", metavar="TYPE",
        help="cls, avg, avg_top2 or avg_first_last")
    normalize: bool = setting("model.normalize", help="scale vectors to length 1")
    towers: int = setting("model.towers", least=1, most=2, metavar="{1,2}",
        help="1 for shared weights, 2 for separate ones")


@dataclass(frozen=True)
class PipelineSettings(Settings):
    """How mentions are linked; the declarations say what each setting does."""

    retrieval: Retrieval = setting("pipeline.retrieval", help="by vectors, by names, or by both, names first")
    nil_threshold: float | None = setting("pipeline.nil_threshold", least=0, most=1,
        help="confidence, 0 to 1, below which a mention has no entity")
    detector: str | None = setting("pipeline.detector", option=None,
        help="what finds the mentions of texts that have none: dictionary, or null for nothing")
    reranker: str | None = setting("pipeline.reranker", metavar="DIR|ID",
        help="cross encoder or dual encoder that ranks the first candidates again")
    rerank_top_k: int = setting("pipeline.rerank_top_k", least=1, help="candidates that the re-ranker reads")
# fmt: on


def find_model_type(configuration: Mapping[str, Any], folder: str | Path) -> Any:
    """The value of ``model.type``; it says whose model it is.

    Args:
        configuration: The configuration of a model folder.
        folder: The folder, for the error.

    Raises:
        ModelFolderError: If the section ``model`` is not an object.
    """
    try:
        return find_value(configuration, "model.type")
    except InputError as error:
        raise ModelFolderError(f"{Path(folder) / CONFIGURATION_FILE}: {error}") from None
