"""Writes the files that sentence-transformers needs to open a model folder, beside weights and tokenizer.

No weights are stored twice: with two towers a Router takes the mention tower from the top of the folder, for queries
and by default, and the entity tower from its sub-folder, for documents. Pooling over several layers is that library's
WeightedLayerPooling with weights of 0, 1 and 2. The files have the form of version 5, which version 6 reads too.
"""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from modelscope_plugin.config.sentence_transformers_sections import MODULES_FILE
from modelscope_plugin.encoding.encoder import EntityEncoder
from modelscope_plugin.errors import ModelFolderError
from modelscope_plugin.modeling.checkpoint_files import save_tokenizer
from modelscope_plugin.modeling.dual_encoder import ENTITY_TOWER_FOLDER, DualEncoder
from modelscope_plugin.modeling.pooling import needs_all_states
from modelscope_plugin.storage.atomic_write import write_json

_MODULES = "sentence_transformers.models"
_ROUTER_FILE = "router_config.json"
_CLASSES = ("Transformer", "Router", "WeightedLayerPooling", "Pooling", "Normalize")

# Texts with and without a mention, in scripts with and without spaces, which a prefix could form one token with.
_MENTIONS = (
    "今天 [ENT_S] 苹果 [ENT_E] 发布手机",
    "[ENT_S] Apple [ENT_E] fell",
    "the [ENT_S] 7 [ENT_E]",
    "苹果",
    "apple",
)
_ENTITIES = ("苹果； 类型： Food; 果实", "Apple Inc.", "7-Eleven； 别名： 7-11;")


def has_same_tokens(encoder: EntityEncoder) -> bool:
    """Return True if sentence-transformers, which tokenises prefix and text as one, gives the same tokens.

    It does not if a prefix (``boq``, ``bod``) forms a token together with the text behind it.

    Args:
        encoder: The model with its tokenizer.
    """
    # A limit set on the library's tokenizer would be written into its files.
    ours = encoder.tokenizer.without_limit()
    sides = (
        (ours.mention_prefix, _MENTIONS, ours.mention_ids(_MENTIONS)),
        (ours.entity_prefix, _ENTITIES, ours.entity_ids(_ENTITIES)),
    )
    for prefix, texts, expected in sides:
        whole = [prefix + text for text in texts]
        # Version 5 strips texts, version 6 does not.
        for given in (whole, [text.strip() for text in whole]):
            if ours.tokenizer(given, verbose=False)["input_ids"] != expected:
                return False
    return True


def write_sentence_transformers_files(folder: Path, encoder: EntityEncoder) -> None:
    """Write into a model folder what ``SentenceTransformer(folder)`` needs.

    Args:
        folder: A folder that `modelscope_plugin.modeling.model_folder.write_model_folder` wrote.
        encoder: The model in it; `has_same_tokens` is true of it.
    """
    model, tokenizer = encoder.model, encoder.tokenizer
    _write_transformer(folder, model, tokenizer.max_length)
    modules = [("", "Transformer")]
    if model.towers == 2:
        modules = [("", "Router")]
        _write_transformer(folder / ENTITY_TOWER_FOLDER, model, tokenizer.max_length)
        save_tokenizer(tokenizer.tokenizer, folder / ENTITY_TOWER_FOLDER)
        towers = {"query": ".", "document": ENTITY_TOWER_FOLDER}
        router = {
            "types": dict.fromkeys(towers.values(), f"{_MODULES}.Transformer"),
            "structure": {route: [tower] for route, tower in towers.items()},
            "parameters": {"default_route": "query", "allow_empty_key": True},
        }
        write_json(folder / _ROUTER_FILE, router)
    if needs_all_states(model.emb_pooler_type):
        modules.append((f"{len(modules)}_WeightedLayerPooling", "WeightedLayerPooling"))
        _write_layer_pooling(folder / modules[-1][0], model)
    modules.append((f"{len(modules)}_Pooling", "Pooling"))
    _write_pooling(folder / modules[-1][0], model)
    if model.normalize:
        modules.append((f"{len(modules)}_Normalize", "Normalize"))
        # An empty folder would get lost on the hub, so it holds an empty file.
        (folder / modules[-1][0]).mkdir()
        write_json(folder / modules[-1][0] / "config.json", {})
    records = [
        {"idx": number, "name": str(number), "path": path, "type": f"{_MODULES}.{name}"}
        for number, (path, name) in enumerate(modules)
    ]
    write_json(folder / MODULES_FILE, records)
    settings = {
        "model_type": "SentenceTransformer",
        "prompts": {"query": tokenizer.mention_prefix, "document": tokenizer.entity_prefix},
        "default_prompt_name": "query" if tokenizer.mention_prefix else None,
        "similarity_fn_name": "dot",
    }
    write_json(folder / "config_sentence_transformers.json", settings)


def check_module_types(folder: Path) -> None:
    """Check that sentence-transformers would import only what an export names.

    It imports and calls whatever class of an installed package these files name, one that unpickles included.

    Args:
        folder: A folder with the files that `write_sentence_transformers_files` writes.

    Raises:
        ModelFolderError: If a file is damaged, or names another class.
    """
    for path in (folder / MODULES_FILE, *folder.rglob(_ROUTER_FILE)):
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
            types = [one["type"] for one in value] if path.name == MODULES_FILE else list(value["types"].values())
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise ModelFolderError(f"{path} is damaged; export the model again") from None
        for one in types:
            if one not in [f"{_MODULES}.{name}" for name in _CLASSES]:
                raise ModelFolderError(f"{path}: {one!r} is no module that an export writes; export the model again")


def _write_transformer(folder: Path, model: DualEncoder, max_length: int) -> None:
    settings: dict[str, Any] = {"max_seq_length": max_length, "do_lower_case": False}
    if "add_pooling_layer" in inspect.signature(type(model.mention_tower).__init__).parameters:
        # Otherwise the library reports a pooling layer that no tower has as missing.
        settings["model_args"] = {"add_pooling_layer": False}
    if needs_all_states(model.emb_pooler_type):
        settings["config_args"] = {"output_hidden_states": True}
    write_json(folder / "sentence_bert_config.json", settings)


def _write_layer_pooling(folder: Path, model: DualEncoder) -> None:
    """Write a weighted mean of hidden states; state 0 is the embeddings, below the first layer."""
    layers = int(model.mention_tower.config.num_hidden_layers)
    first = 1 if model.emb_pooler_type == "avg_first_last" else layers - 1
    weights = torch.zeros(layers + 1 - first)
    # += for a model of one layer, which is its own first and last.
    weights[0] += 1
    weights[-1] += 1
    settings = {"word_embedding_dimension": model.dimension, "layer_start": first, "num_hidden_layers": layers}
    folder.mkdir()
    write_json(folder / "config.json", settings)
    save_file({"layer_weights": weights}, folder / "model.safetensors", metadata={"format": "pt"})


def _write_pooling(folder: Path, model: DualEncoder) -> None:
    cls = model.emb_pooler_type == "cls"
    settings = {
        "word_embedding_dimension": model.dimension,
        "pooling_mode_cls_token": cls,
        "pooling_mode_mean_tokens": not cls,
        "pooling_mode_max_tokens": False,
        "pooling_mode_mean_sqrt_len_tokens": False,
        "pooling_mode_weightedmean_tokens": False,
        "pooling_mode_lasttoken": False,
        "include_prompt": True,
    }
    folder.mkdir()
    write_json(folder / "config.json", settings)
