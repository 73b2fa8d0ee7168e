"""Writes the folder of a trained model: weights, tokenizer, configuration.json."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modelscope_plugin.config.configuration import CONFIGURATION_FILE, default_configuration, merge_configurations
from modelscope_plugin.modeling.checkpoint_files import save_tokenizer
from modelscope_plugin.modeling.dual_encoder import DualEncoder
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
    prefixes = {"boq": tokenizer.mention_prefix, "bod": tokenizer.entity_prefix}
    own = {
        "model": {"emb_pooler_type": model.emb_pooler_type, "normalize": model.normalize, "towers": model.towers},
        "preprocessor": {
            "max_length": tokenizer.max_length,
            **{key: prefix for key, prefix in prefixes.items() if prefix},
        },
    }
    base = default_configuration() if configuration is None else configuration
    with update_folder(folder) as draft:
        model.save_pretrained(draft)
        save_tokenizer(tokenizer.tokenizer, draft)
        write_json(draft / CONFIGURATION_FILE, merge_configurations(base, own))
