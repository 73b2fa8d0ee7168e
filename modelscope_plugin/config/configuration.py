"""configuration.json: the defaults that ship with the package, and the file of a model folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

from modelscope_plugin.config.sentence_transformers_sections import read_sentence_transformers_sections
from modelscope_plugin.errors import InputError, MissingFileError, ModelFolderError

CONFIGURATION_FILE = "configuration.json"

MISSING: Any = object()
"""What `find_value` gives where there is no value; None is a value, null."""

_MAX_DEPTH = 50


def default_configuration_file() -> Path:
    """The configuration.json that ships with this package."""
    return find_shipped_file(CONFIGURATION_FILE)


def find_shipped_file(name: str) -> Path:
    """Find a file that ships with this package: configuration.json or LICENSE."""
    # Installed, it is inside the package; in a checkout it is at the top, beside setup.py.
    package = Path(__file__).parent.parent
    for folder in (package, package.parent):
        if (folder / name).is_file():
            return folder / name
    raise MissingFileError(f"{package / name} is missing; install the package again")


@cache
def _read_shipped() -> dict[str, Any]:
    return read_configuration_file(default_configuration_file())


def default_configuration() -> dict[str, Any]:
    """The configuration that ships with this package, the one source of defaults."""
    return deepcopy(_read_shipped())


def find_default(path: str) -> Any:
    """Find a value of the shipped configuration, as `find_value` does."""
    return find_value(_read_shipped(), path)


def find_value(configuration: Mapping[str, Any], path: str) -> Any:
    """Find a value of a configuration.

    Args:
        configuration: The configuration.
        path: The keys that lead to the value, such as ``train.optimizer.lr``.

    Returns:
        The value; ``MISSING`` where a key is missing or a section is null.

    Raises:
        InputError: If a section on the way is not an object.
    """
    value: Any = configuration
    keys = path.split(".")
    for depth, key in enumerate(keys):
        if not isinstance(value, Mapping | None):
            raise InputError(f"{'.'.join(keys[:depth])} must be a JSON object, not {value!r}")
        if value is None or key not in value:
            return MISSING
        value = value[key]
    return value


def read_configuration(folder: str | Path) -> dict[str, Any]:
    """Read the configuration.json of a model folder.

    Where it does not say how to pool, the files of sentence-transformers do, if there are any.

    Args:
        folder: The model folder.

    Returns:
        The configuration; empty where the folder has none (a plain transformers checkpoint).

    Raises:
        ModelFolderError: If the file does not hold a JSON object, or it is needed to say how to pool.
    """
    path = Path(folder) / CONFIGURATION_FILE
    configuration = read_configuration_file(path) if path.is_file() else {}
    model = configuration.get("model")
    if model is not None and (not isinstance(model, Mapping) or model.get("emb_pooler_type") is not None):
        return configuration
    return merge_configurations(read_sentence_transformers_sections(Path(folder)), configuration)


def read_configuration_file(path: Path) -> dict[str, Any]:
    """Read a configuration file.

    Args:
        path: The file.

    Returns:
        The configuration.

    Raises:
        MissingFileError: If there is no such file.
        ModelFolderError: If the file does not hold a JSON object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"))
        _check_depth(value)
    except (FileNotFoundError, IsADirectoryError):
        raise MissingFileError(f"there is no file {path}") from None
    except ValueError as error:
        raise ModelFolderError(f"{path}: broken JSON ({error}); restore the file") from None
    except RecursionError:
        raise ModelFolderError(f"{path}: JSON nested more than {_MAX_DEPTH} deep; restore the file") from None
    if not isinstance(value, dict):
        raise ModelFolderError(f"{path}: {type(value).__name__} instead of a JSON object; restore the file")
    return value


def _check_depth(value: Any) -> None:
    """Raise RecursionError for JSON that is nested deeper than functions that call themselves can follow."""
    level = [value]
    for _ in range(_MAX_DEPTH + 1):
        level = [one for one in level if isinstance(one, dict | list)]
        level = [child for one in level for child in (one.values() if isinstance(one, dict) else one)]
    if level:
        raise RecursionError


def merge_configurations(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Merge ``changes`` into ``base``, section by section; null in place of a section changes nothing."""
    result = dict(deepcopy(dict(base)))
    for key, value in changes.items():
        known = result.get(key)
        if isinstance(known, Mapping) and value is None:
            continue
        both = isinstance(known, Mapping) and isinstance(value, Mapping)
        result[key] = merge_configurations(known, value) if both else deepcopy(value)  # type: ignore[arg-type]
    return result
