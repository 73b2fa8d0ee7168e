"""Loads the weights of BERT-family checkpoints: safetensors folders and ModelScope's older ones."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from transformers import (
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    MODEL_MAPPING,
    AutoModel,
    AutoModelForSequenceClassification,
    PretrainedConfig,
    PreTrainedModel,
)

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
# The name that ModelScope's text-ranking models give to their head, and that of transformers.
_HEAD_NAMES = {r"^head\.classifier\.": "classifier."}


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
    config = _load_encoder_config(folder)
    options: dict[str, Any] = {}
    if type(config) not in MODEL_MAPPING:
        raise ModelFolderError(
            f"{folder}/config.json: transformers has no encoder for model_type {config.model_type!r}"
        )
    if "add_pooling_layer" in inspect.signature(MODEL_MAPPING[type(config)].__init__).parameters:
        options["add_pooling_layer"] = False
    tower, report = _load_weights(AutoModel, folder, config, **options)
    missing = sorted(key for key in report["missing_keys"] if not key.startswith(_NOT_NEEDED))
    if missing:
        raise _missing_weights(folder, config, missing)
    _warn_of_rest(folder, report["unexpected_keys"])
    _check_values(tower, folder)
    return tower.eval()


def load_pair_model(folder: str | Path, seed: int | None = None) -> PreTrainedModel:
    """Load a checkpoint in float32 as an encoder with a head that gives one score.

    Args:
        folder: A folder as for `load_tower`. A head of ModelScope's text-ranking models, ``head.classifier``, is read
            too.
        seed: Seed of a new head, where the checkpoint has none or one of several labels; None for no new head.

    Returns:
        The model, a ``...ForSequenceClassification`` of transformers, in evaluation mode.

    Raises:
        MissingFileError: If there is no such folder.
        ModelFolderError: If a file is missing or damaged, or weights are missing, NaN or infinite; without ``seed``
            also if the checkpoint has no head of one score.
    """
    folder = Path(folder)
    config = _load_encoder_config(folder)
    if type(config) not in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING:
        raise ModelFolderError(
            f"{folder}/config.json: transformers has no model of text pairs for model_type {config.model_type!r}"
        )
    config.num_labels = 1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0 if seed is None else seed)
        model, report = _load_weights(
            AutoModelForSequenceClassification,
            folder,
            config,
            ignore_mismatched_sizes=True,
            key_mapping=_HEAD_NAMES if config.model_type == "bert" else None,
        )
    encoder = f"{model.base_model_prefix}."
    mismatched = sorted(key for key, *_ in report["mismatched_keys"])
    absent = sorted({*report["missing_keys"], *mismatched})
    missing = [key for key in absent if key.startswith(encoder) and not _is_head(key)]
    if missing:
        raise _missing_weights(folder, config, missing)
    if seed is None and absent:
        reason = "has a head of several labels" if mismatched else "has no head that scores pairs"
        raise ModelFolderError(
            f"{folder} {reason} ({_list_some(absent)}); train a re-ranker from it, or name a cross encoder's folder"
        )
    _warn_of_rest(folder, report["unexpected_keys"])
    _check_values(model, folder)
    return model.eval()


def _load_encoder_config(folder: Path) -> PretrainedConfig:
    _check_files(folder)
    config = load_config(folder)
    if type(config) in MODEL_MAPPING and not isinstance(getattr(config, "hidden_size", None), int):
        raise ModelFolderError(f"{folder}/config.json: model_type {config.model_type!r} is no encoder of texts")
    return config


def _load_weights(
    auto_class: Any, folder: Path, config: PretrainedConfig, **options: Any
) -> tuple[PreTrainedModel, dict[str, Any]]:
    """Load the weights of a checkpoint in float32; also what is missing or left over in it."""
    try:
        with quiet_transformers():
            loaded: tuple[PreTrainedModel, dict[str, Any]] = auto_class.from_pretrained(
                folder, config=config, output_loading_info=True, dtype=torch.float32, local_files_only=True, **options
            )
    except Exception as error:
        raise ModelFolderError(
            f"{folder}: the weights cannot be loaded ({first_line(error)}); download or save the model again"
        ) from error
    return loaded


def _missing_weights(folder: Path, config: PretrainedConfig, missing: list[str]) -> ModelFolderError:
    return ModelFolderError(
        f"{folder}: {len(missing)} weights are missing ({_list_some(missing)}); "
        f"the file does not hold the {config.model_type} encoder that config.json describes"
    )


def _warn_of_rest(folder: Path, keys: Iterable[str]) -> None:
    left_over = sorted(key for key in keys if not _is_head(key))
    if left_over:
        logger.warning("%s: %d weights are left over and not used (%s)", folder, len(left_over), _list_some(left_over))


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
