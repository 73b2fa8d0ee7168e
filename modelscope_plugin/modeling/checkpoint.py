"""Loads the weights of BERT-family checkpoints: safetensors folders and ModelScope's older ones."""

from __future__ import annotations

import inspect
import logging
from pathlib import Path
from typing import Any

import torch
from transformers import MODEL_MAPPING, AutoModel, PreTrainedModel

from modelscope_plugin.errors import MissingFileError, ModelFolderError
from modelscope_plugin.modeling.checkpoint_files import first_line, load_config, quiet_transformers

logger = logging.getLogger(__name__)

_WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
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
        ModelFolderError: If a file is missing or damaged, or weights are missing, NaN or infinite; weights left over
            are named in a warning.
    """
    folder = Path(folder)
    _check_files(folder)
    config = load_config(folder)
    options: dict[str, Any] = {}
    if type(config) not in MODEL_MAPPING:
        raise ModelFolderError(
            f"{folder}/config.json: transformers has no encoder for model_type {config.model_type!r}"
        )
    if not isinstance(getattr(config, "hidden_size", None), int):
        raise ModelFolderError(f"{folder}/config.json: model_type {config.model_type!r} is no encoder of texts")
    if "add_pooling_layer" in inspect.signature(MODEL_MAPPING[type(config)].__init__).parameters:
        options["add_pooling_layer"] = False
    try:
        with quiet_transformers():
            tower, report = AutoModel.from_pretrained(
                folder, config=config, output_loading_info=True, dtype=torch.float32, local_files_only=True, **options
            )
    except Exception as error:
        raise ModelFolderError(
            f"{folder}: the weights cannot be loaded ({first_line(error)}); download or save the model again"
        ) from error
    missing = sorted(key for key in report["missing_keys"] if not key.startswith(_NOT_NEEDED))
    if missing:
        raise ModelFolderError(
            f"{folder}: {len(missing)} weights are missing ({_list_some(missing)}); "
            f"the file does not hold the {config.model_type} encoder that config.json describes"
        )
    left_over = sorted(key for key in report["unexpected_keys"] if not _is_head(key))
    if left_over:
        logger.warning("%s: %d weights are left over and not used (%s)", folder, len(left_over), _list_some(left_over))
    _check_values(tower, folder)
    return tower.eval()


def _check_values(tower: PreTrainedModel, folder: Path) -> None:
    """Raise `ModelFolderError` if a weight is NaN or infinite."""
    for name, weight in tower.named_parameters():
        # A sum takes a third of the time of a look at every value, and is finite only if all of them are.
        if not (torch.isfinite(weight.sum()) or torch.isfinite(weight).all()):
            raise ModelFolderError(f"{folder}: weight {name} holds NaN or infinity; download or save the model again")


def _check_files(folder: Path) -> None:
    if not folder.is_dir():
        raise MissingFileError(f"there is no model folder {folder}")
    if not (folder / "config.json").is_file():
        raise ModelFolderError(
            f"{folder} has no config.json; name the folder of a transformers or ModelScope checkpoint"
        )
    if not any((folder / name).is_file() for name in _WEIGHTS):
        raise ModelFolderError(f"{folder} has no weights; it needs model.safetensors or pytorch_model.bin")


def _is_head(key: str) -> bool:
    """True for weights of pre-training heads and poolers, which this package does not use."""
    heads = ("cls.", "lm_head.", "discriminator_predictions.", "generator_predictions.", "vocab_")
    return key.startswith(heads) or "pooler." in key or key.endswith("position_ids")


def _list_some(names: list[str]) -> str:
    return ", ".join(names[:4]) + (", …" if len(names) > 4 else "")
