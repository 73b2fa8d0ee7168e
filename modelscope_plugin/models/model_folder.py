"""The folder of a trained model: weights, tokenizer, configuration.json."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modelscope_plugin.configuration import CONFIGURATION_FILE, default_configuration, merged
from modelscope_plugin.files import write_json
from modelscope_plugin.models.dual_encoder import DualEncoder
from modelscope_plugin.preprocessors.tokenization import EntityTokenizer


def write_model_folder(
    folder: Path,
    model: DualEncoder,
    tokenizer: EntityTokenizer,
    sections: Mapping[str, Any] | None = None,
) -> None:
    """Write a folder that goes straight into ``pipeline(Tasks.sentence_embedding, ...)``.

    Args:
        folder: The folder; files in it are overwritten one by one. Use
            `modelscope_plugin.files.replace_folder` to replace a folder as a whole.
        model: The dual encoder.
        tokenizer: Its tokenizer with window and prefixes.
        sections: Sections of configuration.json that differ from the shipped one, such as ``train``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tokenizer.tokenizer.save_pretrained(folder)
    configuration = merged(default_configuration(), sections or {})
    configuration["model"] |= {
        "emb_pooler_type": model.emb_pooler_type,
        "normalize": model.normalize,
        "towers": model.towers,
    }
    configuration["preprocessor"]["max_length"] = tokenizer.max_length
    for key, prefix in (("boq", tokenizer.mention_prefix), ("bod", tokenizer.entity_prefix)):
        if prefix:
            configuration["preprocessor"][key] = prefix
    write_json(folder / CONFIGURATION_FILE, configuration)
