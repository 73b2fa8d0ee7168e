"""Writes the folder of a trained dual encoder or cross encoder: weights, tokenizer, configuration.json."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modelscope_plugin.config.configuration import CONFIGURATION_FILE, default_configuration, merge_configurations
from modelscope_plugin.config.metainfo import Models, Pipelines, Preprocessors, Tasks
from modelscope_plugin.modeling.cross_encoder import CrossEncoderModel
from modelscope_plugin.modeling.dual_encoder import DualEncoder
from modelscope_plugin.modeling.pair_tokenization import PairTokenizer
from modelscope_plugin.modeling.tokenization import EntityTokenizer
from modelscope_plugin.storage.atomic_write import update_folder, write_json

INDEX_FOLDER = "index"
"""Sub-folder of a published model with the index of a knowledge base."""


def write_model_folder(
    folder: Path,
    model: DualEncoder,
    tokenizer: EntityTokenizer,
    configuration: Mapping[str, Any] | None = None,
) -> None:
    """Write a model folder that ``pipeline(Tasks.sentence_embedding, ...)`` opens.

    Args:
        folder: The folder; files in it are replaced one by one. Use
            `modelscope_plugin.storage.atomic_write.replace_folder` to replace a folder as a whole.
        model: The dual encoder.
        tokenizer: Its tokenizer with window and prefixes.
        configuration: Content of configuration.json apart from model and window; by default that of the shipped one.
    """
    own = {
        "model": {"emb_pooler_type": model.emb_pooler_type, "normalize": model.normalize, "towers": model.towers},
        "preprocessor": _window_section(tokenizer),
    }
    base = default_configuration() if configuration is None else configuration
    with update_folder(folder) as draft:
        model.save_pretrained(draft)
        tokenizer.tokenizer.save_pretrained(draft)
        write_json(draft / CONFIGURATION_FILE, merge_configurations(base, own))


def write_cross_encoder_folder(
    folder: Path,
    model: CrossEncoderModel,
    tokenizer: PairTokenizer,
    configuration: Mapping[str, Any] | None = None,
) -> None:
    """Write a cross encoder folder that ``pipeline(Tasks.text_ranking, ...)`` and sentence-transformers open.

    Args:
        folder: The folder; files in it are replaced one by one.
        model: The cross encoder.
        tokenizer: Its tokenizer with window and prefixes.
        configuration: Further sections of configuration.json, such as ``train``.
    """
    own = {
        "framework": "pytorch",
        "task": Tasks.text_ranking,
        "model": {"type": Models.entity_cross_encoder},
        "preprocessor": {"type": Preprocessors.entity_cross_encoder, **_window_section(tokenizer.tokenizer)},
        "pipeline": {"type": Pipelines.entity_cross_encoder},
    }
    raw = tokenizer.tokenizer.tokenizer
    limit = raw.model_max_length
    with update_folder(folder) as draft:
        model.save_pretrained(draft)
        try:
            # Other loaders cut pairs to what the tokenizer says.
            raw.model_max_length = tokenizer.max_length
            raw.save_pretrained(draft)
        finally:
            raw.model_max_length = limit
        write_json(draft / CONFIGURATION_FILE, merge_configurations(configuration or {}, own))


def _window_section(tokenizer: EntityTokenizer) -> dict[str, Any]:
    prefixes = {"boq": tokenizer.mention_prefix, "bod": tokenizer.entity_prefix}
    return {"max_length": tokenizer.max_length, **{key: prefix for key, prefix in prefixes.items() if prefix}}
