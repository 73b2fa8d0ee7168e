"""JSON files that hold one record each: read into a dataclass, every field checked by its annotation."""

from __future__ import annotations

from dataclasses import MISSING, fields
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from modelscope_plugin.checks import check_integer, check_number
from modelscope_plugin.config.configuration import read_configuration_file
from modelscope_plugin.errors import InputError, InputTypeError, ModelFolderError
from modelscope_plugin.text import show

_R = TypeVar("_R")
_NAMES = {bool: "true or false", str: "a string", list: "a list", dict: "an object", NoneType: "null"}


def read_record(kind: type[_R], path: Path) -> _R:
    """Read a JSON file into a dataclass; see `make_record`.

    Raises:
        MissingFileError: If there is no such file.
        InputError: If the file does not hold a JSON object, or a field is missing, unknown or of another type; its
            message does not name the file.
    """
    try:
        value = read_configuration_file(path)
    except ModelFolderError as error:
        raise InputError(str(error).removeprefix(f"{path}: ").removesuffix("; restore the file")) from None
    return make_record(kind, value)


def make_record(kind: type[_R], value: Any, name: str = "") -> _R:
    """Make a dataclass of a JSON object.

    Args:
        kind: The dataclass. Its annotations are bool, int, float, str, Any, lists and dictionaries of these, or
            one of them or None.
        value: The object.
        name: What an error calls it.

    Raises:
        InputError: If a field is missing, unknown or of another type; it names the field.
    """
    prefix = f"{name}." if name else ""
    if not isinstance(value, dict):
        raise InputTypeError(f"{name or 'the record'} must be an object, not {show(value)}")
    hints = get_type_hints(kind)
    known = {one.name: one for one in fields(kind)}  # type: ignore[arg-type]
    if unknown := sorted(set(value) - set(known)):
        raise InputError(f"{prefix}{show(unknown[0])} is an unknown field")
    for key, one in known.items():
        if key not in value and one.default is MISSING and one.default_factory is MISSING:
            raise InputError(f"{prefix}{key} is missing")
    return kind(**{key: _check(hints[key], item, f"{prefix}{key}") for key, item in value.items()})


def _check(hint: Any, value: Any, name: str) -> Any:
    if hint is Any:
        return value
    if isinstance(hint, UnionType):
        if value is None and NoneType in get_args(hint):
            return None
        hint = next(one for one in get_args(hint) if one is not NoneType)
    if hint is int:
        return check_integer(name, value)
    if hint is float:
        return check_number(name, value)
    kind = get_origin(hint) or hint
    if not isinstance(value, kind):
        raise InputTypeError(f"{name} must be {_NAMES[kind]}, not {show(value)}")
    if kind is list:
        return [_check(get_args(hint)[0], one, f"{name}[{number}]") for number, one in enumerate(value)]
    if kind is dict:
        return {key: _check(get_args(hint)[1], one, f"{name}.{show(key)}") for key, one in value.items()}
    return value
