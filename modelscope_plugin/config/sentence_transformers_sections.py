"""What the files of a sentence-transformers folder say about pooling and window, as sections of configuration.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from modelscope_plugin.errors import ModelFolderError
from modelscope_plugin.text import show

MODULES_FILE = "modules.json"

_REMEDY = 'say how to pool in configuration.json, such as {"model": {"emb_pooler_type": "avg"}}'
_POOLERS = {"cls": "cls", "mean": "avg"}
# How version 5 and earlier write the mode; the names are those of version 6.
_MODES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}


def read_sentence_transformers_sections(folder: Path) -> dict[str, Any]:
    """Read how a sentence-transformers folder pools and normalises, and its window.

    Args:
        folder: Any model folder.

    Returns:
        Sections of configuration.json; empty where the folder has no modules.json, or is that of a cross encoder.

    Raises:
        ModelFolderError: If a file is damaged, or the folder has a module or a pooling that this package lacks.
    """
    file = folder / MODULES_FILE
    if not file.is_file():
        return {}
    own = folder / "config_sentence_transformers.json"
    if own.is_file() and _read(own, dict).get("model_type") == "CrossEncoder":
        return {}
    modules = _read(file, list)
    try:
        kinds = {str(module["type"]).rpartition(".")[2]: str(module["path"]) for module in modules}
    except (TypeError, KeyError):
        raise ModelFolderError(f"{file} is damaged; restore the file") from None
    expected = ["Transformer", "Pooling", "Normalize"][: max(2, len(modules))]
    if [*kinds] != expected:
        raise ModelFolderError(
            f"{file}: the modules {', '.join(map(show, kinds)) or 'none'} are not those that this package reads "
            f"(Transformer, Pooling and perhaps Normalize); {_REMEDY}"
        )
    sections: dict[str, Any] = {
        "model": {"emb_pooler_type": _find_pooler(folder / kinds["Pooling"]), "normalize": "Normalize" in kinds}
    }
    window = folder / kinds["Transformer"] / "sentence_bert_config.json"
    length = _read(window, dict).get("max_seq_length") if window.is_file() else None
    if length is not None:
        sections["preprocessor"] = {"max_length": length}
    return sections


def _find_pooler(folder: Path) -> str:
    file = folder / "config.json"
    settings = _read(file, dict)
    modes = settings.get("pooling_mode", [mode for name, mode in _MODES.items() if settings.get(name)] or "mean")
    modes = modes if isinstance(modes, list) else [modes]
    if len(modes) != 1 or not isinstance(modes[0], str) or modes[0] not in _POOLERS:
        raise ModelFolderError(
            f"{file}: pooling {', '.join(map(show, modes))} is none that this package has (cls or mean); {_REMEDY}"
        )
    return _POOLERS[modes[0]]


def _read(file: Path, kind: type) -> Any:
    try:
        value = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelFolderError(f"{file} cannot be read ({show(str(error))}); restore the file") from None
    if not isinstance(value, kind):
        raise ModelFolderError(f"{file} is damaged; restore the file")
    return value
