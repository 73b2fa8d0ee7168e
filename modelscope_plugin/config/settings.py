"""Settings that are declared once.

The declaration of a field gives its range, its path in configuration.json, its command-line option and its label on
the model card; its type and choices are those of the annotation. The shipped configuration.json holds the defaults.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from types import NoneType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from modelscope_plugin.checks import check_choice, check_integer, check_number
from modelscope_plugin.config.configuration import (
    CONFIGURATION_FILE,
    MISSING,
    find_default,
    find_value,
    read_configuration,
)
from modelscope_plugin.errors import InputError, InputTypeError, ModelFolderError

NONE = "none"
"""A change that sets a setting to null if it can be null; None changes nothing."""

_S = TypeVar("_S", bound="Settings")


@dataclass(frozen=True)
class Setting:
    """The declaration of one setting.

    Attributes:
        path: Its path in configuration.json, such as ``train.optimizer.lr``.
        help: What it does; also the help of its option.
        option: Its command-line option; by default its name with dashes, None for no option.
        metavar: What the help calls its value.
        zh: Its label on the Chinese model card, ``en`` on the English one; empty where the card does not show it.
        fallback_path: Where its value is looked for next.
        default: Its default; None for that of the shipped configuration.json.
        kind: ``int``, ``float``, ``bool`` or ``str``, from the annotation of the field.
        choices: The texts that it can be, from the annotation; empty for any.
        nullable: Whether it can be null, from the annotation.
    """

    path: str
    help: str = ""
    least: int | None = None
    most: int | None = None
    above: float | None = None
    below: float | None = None
    option: str | None = ""
    metavar: str | None = None
    zh: str = ""
    en: str = ""
    fallback_path: str = ""
    default: Any = None
    kind: type = str
    choices: tuple[str, ...] = ()
    nullable: bool = False

    def get_default(self) -> Any:
        """Its value where a configuration has none."""
        return find_default(self.path) if self.default is None else self.default

    def find(self, configuration: Mapping[str, Any]) -> Any:
        """Its value in a configuration, checked; ``MISSING`` where there is none.

        Raises:
            InputError: If it has another type or is out of its range, or a section is not an object.
        """
        for path in filter(None, (self.path, self.fallback_path)):
            value = find_value(configuration, path)
            if value is not MISSING and (value is not None or self.nullable):
                return self.check(value, path)
        return MISSING

    def check(self, value: Any, name: str) -> Any:
        """Return a value in the type of the setting; InputError, which calls it ``name``, if it cannot be used."""
        if value is None and self.nullable:
            return None
        if self.choices:
            return check_choice(name, value, self.choices)
        if self.kind is int:
            return check_integer(name, value, least=self.least, most=self.most)
        if self.kind is float:
            return check_number(name, value, least=self.least, most=self.most, above=self.above, below=self.below)
        if not isinstance(value, self.kind):
            raise InputTypeError(f"{name}={value!r} must be {'true or false' if self.kind is bool else 'a string'}")
        return value


def setting(path: str, **declaration: Any) -> Any:
    """Declare a field of a `Settings` dataclass; the keywords are the attributes of `Setting`."""
    declared = Setting(path, **declaration)
    return field(default_factory=declared.get_default, metadata={"setting": declared})


def setting_of(kind: type[Settings], name: str, **changes: Any) -> Any:
    """Declare a setting of another `Settings` class again, with ``changes`` to its declaration."""
    return setting(**vars(kind.declarations()[name]) | changes)


@dataclass(frozen=True)
class Settings:
    """Base of the dataclasses whose fields `setting` declares; their values are checked.

    Raises:
        InputError: If a value has another type or is out of its range.
    """

    def __post_init__(self) -> None:
        for name, declared in self.declarations().items():
            object.__setattr__(self, name, declared.check(getattr(self, name), name))
        self._check_combination()

    def _check_combination(self) -> None:
        """Raise InputError for values that do not go together."""

    @classmethod
    @cache
    def declarations(cls) -> dict[str, Setting]:
        """The declarations of all settings by name, completed by what the annotations say."""
        hints = get_type_hints(cls)
        found = {}
        for one in fields(cls):
            hint = hints[one.name]
            nullable = NoneType in get_args(hint)
            if nullable:
                hint = next(each for each in get_args(hint) if each is not NoneType)
            choices = get_args(hint) if get_origin(hint) is Literal else ()
            kind = str if choices else hint
            found[one.name] = replace(one.metadata["setting"], kind=kind, choices=choices, nullable=nullable)
        return found

    @classmethod
    def from_configuration(cls: type[_S], configuration: Mapping[str, Any], **changes: Any) -> _S:
        """Read the settings from a configuration; what it lacks comes from the shipped one.

        Args:
            configuration: A whole configuration.json.
            **changes: Settings by name that override it; None changes nothing, `NONE` sets a setting to null.

        Raises:
            InputError: If a value has another type or is out of its range, or a change is unknown.
        """
        declared = cls.declarations()
        unknown = sorted(set(changes) - set(declared))
        if unknown:
            raise InputError(f"unknown setting {unknown[0]!r}; choose from {', '.join(declared)}")
        values = {}
        for name, one in declared.items():
            change = changes.get(name)
            if change is not None:
                values[name] = None if one.nullable and change == NONE else change
            elif (value := one.find(configuration)) is not MISSING:
                values[name] = value
        return cls(**values)

    def to_sections(self) -> dict[str, Any]:
        """The settings in the layout of configuration.json."""
        sections: dict[str, Any] = {}
        for name, value in asdict(self).items():
            section = sections
            *parents, last = self.declarations()[name].path.split(".")
            for key in parents:
                section = section.setdefault(key, {})
            section[last] = value
        return sections

    @classmethod
    def card_labels(cls, language: str) -> dict[str, str]:
        """Labels on the model card, ``zh`` or ``en``, of the settings that it shows, by name."""
        labels = {name: one.zh if language == "zh" else one.en for name, one in cls.declarations().items()}
        return {name: label for name, label in labels.items() if label}


def read_settings(kind: type[_S], folder: str | Path, **changes: Any) -> _S:
    """Read settings from the configuration.json of a model folder; what it lacks comes from the shipped one.

    Args:
        kind: The class of the settings.
        folder: The model folder; it need not have a configuration.json.
        **changes: Settings by name that override the file; None changes nothing, `NONE` sets a setting to null.

    Raises:
        ModelFolderError: If the file is damaged, or a value in it has another type or is out of its range.
        InputError: If a change is unknown or out of its range.
    """
    configuration = read_configuration(folder)
    check_settings(configuration, Path(folder) / CONFIGURATION_FILE, kind)
    return kind.from_configuration(configuration, **changes)


def check_settings(configuration: Mapping[str, Any], path: str | Path, *kinds: type[Settings]) -> None:
    """Check the type and range of every setting in a file.

    Args:
        configuration: What the file holds.
        path: The file, for the error.
        *kinds: The classes of the settings.

    Raises:
        ModelFolderError: If a value has another type or is out of its range; it names file, setting and remedy.
    """
    for declared in (one for kind in kinds for one in kind.declarations().values()):
        try:
            declared.find(configuration)
        except InputError as error:
            raise ModelFolderError(f"{path}: {error}") from None
