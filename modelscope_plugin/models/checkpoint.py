"""Reading BERT-family checkpoints: today's safetensors folders and ModelScope's older ones."""

from __future__ import annotations

import inspect
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModel, AutoTokenizer, PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from modelscope_plugin.errors import MissingFileError, ModelFolderError

logger = logging.getLogger(__name__)

_WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
_VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json", "sentencepiece.bpe.model", "spiece.model")
# A checkpoint may lack these: the pooling head is not used, position ids are computed.
_NOT_NEEDED = ("pooler.", "embeddings.position_ids")


def load_tower(folder: str | Path) -> PreTrainedModel:
    """Load the encoder of a checkpoint in float32, without its pooling head.

    Args:
        folder: A folder with ``config.json`` and weights: safetensors, or a ``pytorch_model.bin`` (read
            with ``weights_only=True``) whose keys may start with ``bert.`` or not. A config without
            ``model_type`` is taken for BERT, as old ModelScope folders leave it out.

    Returns:
        The encoder, in evaluation mode.

    Raises:
        MissingFileError: If there is no such folder.
        ModelFolderError: If a file is missing or damaged, or weights are missing; weights left over are
            named in a warning.
    """
    folder = Path(folder)
    _check_files(folder)
    config = _load_config(folder)
    options: dict[str, Any] = {}
    model_class = AutoModel._model_mapping.get(type(config), None)
    if model_class is None:
        raise ModelFolderError(f"{folder}/config.json: transformers has no encoder for model_type {config.model_type!r}")
    if "add_pooling_layer" in inspect.signature(model_class.__init__).parameters:
        options["add_pooling_layer"] = False
    try:
        with _quiet():
            tower, report = AutoModel.from_pretrained(
                folder, config=config, output_loading_info=True, dtype=torch.float32, local_files_only=True, **options
            )
    except Exception as error:
        raise ModelFolderError(
            f"{folder}: the weights cannot be loaded ({_first_line(error)}); download or save the model again"
        ) from error
    missing = sorted(key for key in report["missing_keys"] if not key.startswith(_NOT_NEEDED))
    if missing:
        raise ModelFolderError(
            f"{folder}: {len(missing)} weights are missing ({_some(missing)}); "
            f"the file does not hold the {config.model_type} encoder that config.json describes"
        )
    left_over = sorted(key for key in report["unexpected_keys"] if not _is_head(key))
    if left_over:
        logger.warning("%s: %d weights are left over and not used (%s)", folder, len(left_over), _some(left_over))
    return tower.eval()  # type: ignore[no-any-return]


def load_tokenizer(folder: str | Path) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a checkpoint from its own files.

    Args:
        folder: A folder with ``tokenizer.json`` or a vocabulary.

    Returns:
        The fast tokenizer.

    Raises:
        ModelFolderError: If there is no vocabulary or it cannot be read.
    """
    folder = Path(folder)
    if not any((folder / name).is_file() for name in _VOCABULARIES):
        raise ModelFolderError(f"{folder} has no tokenizer; it needs tokenizer.json or vocab.txt")
    try:
        with _quiet():
            return AutoTokenizer.from_pretrained(  # type: ignore[no-any-return]
                folder, config=_load_config(folder), local_files_only=True
            )
    except ModelFolderError:
        raise
    except Exception as error:
        raise ModelFolderError(f"{folder}: the tokenizer cannot be loaded ({_first_line(error)})") from error


def _check_files(folder: Path) -> None:
    if not folder.is_dir():
        raise MissingFileError(f"there is no model folder {folder}")
    if not (folder / "config.json").is_file():
        raise ModelFolderError(f"{folder} has no config.json; name the folder of a transformers or ModelScope checkpoint")
    if not any((folder / name).is_file() for name in _WEIGHTS):
        raise ModelFolderError(f"{folder} has no weights; it needs model.safetensors or pytorch_model.bin")


def _load_config(folder: Path) -> PretrainedConfig:
    path = folder / "config.json"
    try:
        values = json.loads(path.read_text(encoding="utf-8-sig"))
        # transformers tells the architecture by model_type, ModelScope by its own configuration.json.
        model_type = values.pop("model_type", None) or "bert"
        return AutoConfig.for_model(model_type, **values)
    except Exception as error:
        raise ModelFolderError(f"{path} cannot be read ({_first_line(error)}); restore the file") from error


def _is_head(key: str) -> bool:
    """Weights that any pre-trained checkpoint has beyond its encoder: nobody misses them here."""
    return key.startswith("cls.") or "pooler." in key or key.endswith("position_ids") or "lm_head" in key


def _some(names: list[str]) -> str:
    return ", ".join(names[:4]) + (", …" if len(names) > 4 else "")


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers from printing its own load report; what matters in it is said by this module."""
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()
