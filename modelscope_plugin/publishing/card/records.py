"""Reads training.json and files of figures for a card, and checks each field, since anybody may have written them.

Every number must be a number and every text one short line; the error names the field. Code that uses these records
need not check them again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from modelscope_plugin.config.configuration import default_configuration, read_configuration_file
from modelscope_plugin.config.training_settings import read_training_settings
from modelscope_plugin.errors import InputError, ModelFolderError
from modelscope_plugin.modeling.fingerprint import is_same_model
from modelscope_plugin.modeling.location import is_hub_id
from modelscope_plugin.text import is_line, show
from modelscope_plugin.training.record import RECORD_FILE

_LONGEST = 100


class _Kind(NamedTuple):
    """A kind of single value: its name in errors, and the function that accepts a value."""

    name: str
    accepts: Callable[[Any], bool]


_Schema: TypeAlias = "_Kind | list[_Schema] | dict[str, _Schema]"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def _is_line(value: Any) -> bool:
    return is_line(value, _LONGEST)


_FLAG = _Kind("true or false", lambda value: isinstance(value, bool))
_NUMBER = _Kind("a number", _is_number)
_COUNT = _Kind("a count", lambda value: _is_number(value) and isinstance(value, int) and value >= 0)
_LINE = _Kind("one short line", _is_line)
_ANY = _Kind(
    "a number, true, false, or one short line",
    lambda value: isinstance(value, bool) or _is_number(value) or _is_line(value),
)
_EVERY_OTHER = "*"

_FIGURES: dict[str, _Schema] = {
    **dict.fromkeys(("mentions", "entities", "nil_mentions", "unlabelled_mentions", "unknown_gold"), _COUNT),
    "mrr": _NUMBER,
    "retrieval": _LINE,
    "fingerprint": _LINE,
}
_STAGE: dict[str, _Schema] = {
    "stage": _COUNT,
    "losses": [_NUMBER],
    "collapsed": _FLAG,
    "steps": _COUNT,
    "best_step": _COUNT,
    "seconds": _NUMBER,
    "mining": {"mentions": _COUNT, "negatives": _COUNT},
    "evaluation": _FIGURES,
}
_EXAMPLES: dict[str, _Schema] = {
    **dict.fromkeys(("count", "mentions", "entities", "nil", "unlabelled", "unknown"), _COUNT),
    "checksum": _LINE,
}
# The fields that are published. The others name files of the trainer's machine, as does a base model that is no hub id.
_PUBLISHED: dict[str, _Schema] = {
    "settings": {},
    "mining": {},
    "ks": [_COUNT],
    "data": {"knowledge_base": _EXAMPLES, "train": _EXAMPLES, "eval": _EXAMPLES},
    "processes": _COUNT,
    "device": _LINE,
    "versions": {_EVERY_OTHER: _LINE},
    "run": _LINE,
    "stage": _COUNT,
    "losses": [_NUMBER],
    "collapsed": _FLAG,
    "evaluation": _FIGURES,
    "stages": [_STAGE],
}
_REQUIRED_OF_STAGE = ("stage", "losses", "steps")
# Settings that the card counts with, which a number with decimals would not be.
_COUNTED = ("views", "random_negatives", "hard_negatives", "kb_mentions", "eval_steps")
_RECALL = re.compile(r"(?:[a-z_]+_)?recall@[1-9][0-9]{0,6}")


def read_training_record(folder: Path) -> dict[str, Any] | None:
    """Read the fields of a model folder's training.json that may be published.

    Args:
        folder: The model folder.

    Returns:
        The record, with ``base_model`` only if that is a hub id; None if this package has not trained the model.

    Raises:
        ModelFolderError: If the file is not a JSON object, or a field has the wrong type.
    """
    path = folder / RECORD_FILE
    if not path.is_file():
        return None
    record = read_configuration_file(path)
    if not isinstance(record.get("settings"), dict) or not isinstance(record.get("stages"), list):
        return None
    published = {key: record[key] for key in _PUBLISHED if key in record}
    settings, mining = (_setting_schema(asdict(one)) for one in read_training_settings(default_configuration()))
    try:
        _check("", published, _PUBLISHED | {"settings": settings, "mining": mining})
        for number, stage in enumerate(record["stages"]):
            for name in _REQUIRED_OF_STAGE:
                if stage is None or stage.get(name) is None:
                    raise InputError(f"stages[{number}].{name} is missing")
    except InputError as error:
        raise ModelFolderError(f"{path}: {error}; restore the file") from None
    base = record.get("base_model")
    # As in `resolve_model`: a path that exists, or whose parent folder exists, is not a hub id.
    if isinstance(base, str) and is_hub_id(base) and not Path(base).exists() and not Path(base).parent.is_dir():
        published["base_model"] = base
    return published


def read_views(record: Mapping[str, Any] | None) -> int:
    """Return the most vectors of an entity that the model of a checked record was trained for."""
    return ((record or {}).get("settings") or {}).get("views") or 1


def read_figures(path: Path, fingerprint: str) -> dict[str, Any]:
    """Read the figures that ``modelscope entity evaluate --json`` printed.

    Args:
        path: The file.
        fingerprint: Fingerprint of the model that the figures must belong to.

    Returns:
        The figures.

    Raises:
        InputError: If they belong to another model, a field has the wrong type, or there is no recall among them.
    """
    figures = read_configuration_file(path)
    if not is_same_model(figures.get("fingerprint", ""), fingerprint):
        raise InputError(f"{path} was not measured with this model; run modelscope entity evaluate --json with it")
    try:
        _check("", figures, _FIGURES)
    except InputError as error:
        raise InputError(f"{path}: {error}; run modelscope entity evaluate --json again") from None
    has_recall = any(key.startswith("recall@") for key in figures)
    if not has_recall or any(figures.get(key) is None for key in ("mentions", "entities")):
        raise InputError(f"{path} holds no recall; it must be what modelscope entity evaluate --json prints")
    return figures


def _setting_schema(defaults: Mapping[str, Any]) -> dict[str, _Schema]:
    """Make the schema of settings from their defaults: a text, a switch, or else a number."""
    kinds = {str: _LINE, bool: _FLAG}
    schema: dict[str, _Schema] = {name: kinds.get(type(value), _NUMBER) for name, value in defaults.items()}
    return schema | {name: _COUNT for name in _COUNTED if name in schema}


def _check(name: str, value: Any, schema: _Schema) -> None:
    """Raise `InputError` if a value does not fit its schema; null, but in lists, and unknown fields fit."""
    if value is None:
        return
    if schema is _ANY and isinstance(value, dict | list):
        schema = {} if isinstance(value, dict) else [_ANY]
    if isinstance(schema, _Kind):
        if not schema.accepts(value):
            raise _wrong(name, value, schema.name)
    elif isinstance(schema, list):
        if not isinstance(value, list):
            raise _wrong(name, value, "a list")
        for number, item in enumerate(value):
            if item is None and isinstance(schema[0], _Kind) and schema[0] is not _ANY:
                raise _wrong(f"{name}[{number}]", item, schema[0].name)
            _check(f"{name}[{number}]", item, schema[0])
    else:
        if not isinstance(value, dict):
            raise _wrong(name, value, "an object")
        for key, item in value.items():
            inner = f"{name}.{key}" if name else key
            if not _is_line(key):
                raise _wrong(name or "the record", key, "an object whose names are short lines")
            if schema is _FIGURES and "recall@" in key:
                if item is None or not _RECALL.fullmatch(key):
                    raise _wrong(inner, item, "a number under a name such as recall@4")
                _check(inner, item, _NUMBER)
            else:
                _check(inner, item, schema.get(key, schema.get(_EVERY_OTHER, _ANY)))


def _wrong(name: str, value: Any, expected: str) -> InputError:
    return InputError(f"{name} must be {expected}, not {show(value)}")
