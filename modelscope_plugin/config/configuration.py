"""configuration.json: the defaults that ship with the package, and the file of a model folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

from modelscope_plugin.errors import MissingFileError, ModelFolderError

CONFIGURATION_FILE = "configuration.json"


def default_configuration_file() -> Path:
    """The configuration.json that ships with this package."""
    return shipped_file(CONFIGURATION_FILE)


def shipped_file(name: str) -> Path:
    """A file that ships with this package: configuration.json or LICENSE."""
    # Installed, it lies inside the package; in a checkout it stands at the top, beside setup.py.
    package = Path(__file__).parent.parent
    for folder in (package, package.parent):
        if (folder / name).is_file():
            return folder / name
    raise MissingFileError(f"{package / name} is missing; install the package again")


@cache
def _shipped() -> dict[str, Any]:
    return read_configuration_file(default_configuration_file())


def default_configuration() -> dict[str, Any]:
    """The configuration that ships with this package, the one source of defaults."""
    return deepcopy(_shipped())


def read_configuration(folder: str | Path) -> dict[str, Any]:
    """Read the configuration.json of a model folder.

    Args:
        folder: The model folder.

    Returns:
        The configuration; empty where the folder has none (a plain transformers checkpoint).

    Raises:
        ModelFolderError: If the file is no JSON object.
    """
    path = Path(folder) / CONFIGURATION_FILE
    return read_configuration_file(path) if path.is_file() else {}


def read_configuration_file(path: Path) -> dict[str, Any]:
    """Read a configuration.json of any name.

    Args:
        path: The file.

    Returns:
        The configuration.

    Raises:
        MissingFileError: If there is no such file.
        ModelFolderError: If the file is no JSON object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise MissingFileError(f"there is no file {path}") from None
    except ValueError as error:
        raise ModelFolderError(f"{path}: broken JSON ({error}); restore the file") from None
    if not isinstance(value, dict):
        raise ModelFolderError(f"{path}: {type(value).__name__} instead of a JSON object; restore the file")
    return value


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Lay ``changes`` over ``base``, section by section; null in the place of a section changes nothing."""
    result = dict(deepcopy(dict(base)))
    for key, value in changes.items():
        known = result.get(key)
        if isinstance(known, Mapping) and value is None:
            continue
        both = isinstance(known, Mapping) and isinstance(value, Mapping)
        result[key] = merged(known, value) if both else deepcopy(value)  # type: ignore[arg-type]
    return result
