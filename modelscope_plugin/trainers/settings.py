"""The ``train`` section of configuration.json as checked settings."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from modelscope_plugin.configuration import default_configuration, merged, read_configuration
from modelscope_plugin.errors import InputError
from modelscope_plugin.metainfo import Metrics
from modelscope_plugin.metrics.evaluation import DEFAULT_KS
from modelscope_plugin.metrics.recall import check_ks
from modelscope_plugin.models.pooling import check_pooler_type

logger = logging.getLogger(__name__)

# Where each setting stands in configuration.json, in ModelScope's own layout.
_PLACES: dict[str, tuple[str, ...]] = {
    "max_epochs": ("train", "max_epochs"),
    "batch_size": ("train", "dataloader", "batch_size_per_gpu"),
    "learning_rate": ("train", "optimizer", "lr"),
    "weight_decay": ("train", "optimizer", "weight_decay"),
    "max_grad_norm": ("train", "optimizer", "options", "grad_clip", "max_norm"),
    "lr_scheduler_type": ("train", "lr_scheduler", "type"),
    "warmup_ratio": ("train", "lr_scheduler", "warmup_ratio"),
    "temperature": ("train", "temperature"),
    "kb_mentions": ("train", "kb_mentions"),
    "seed": ("train", "seed"),
    "max_length": ("preprocessor", "max_length"),
    "emb_pooler_type": ("model", "emb_pooler_type"),
    "normalize": ("model", "normalize"),
    "towers": ("model", "towers"),
}
_OTHER_KEYS = {("train", "work_dir"), ("train", "optimizer", "type")}


@dataclass(frozen=True)
class TrainingSettings:
    """What decides a training run, beside the data; defaults stand in configuration.json.

    Attributes:
        max_epochs: Passes over the training mentions.
        batch_size: Mentions, each with its entity, in a batch; the other entities are the negatives.
        learning_rate: Peak learning rate of AdamW.
        weight_decay: Weight decay, not on biases and layer norms.
        max_grad_norm: Length to which gradients are clipped.
        lr_scheduler_type: A schedule of transformers: ``linear``, ``cosine``, ``constant_with_warmup`` ...
        warmup_ratio: Share of the steps in which the rate rises from 0.
        temperature: What the scores are divided by in the loss.
        kb_mentions: Training mentions made from every name in the knowledge base itself, beside the
            labelled ones (see `modelscope_plugin.data.kb_mentions`).
        seed: The one source of randomness.
        max_length: Tokens of a window.
        emb_pooler_type: ``cls``, ``avg``, ``avg_top2`` or ``avg_first_last``.
        normalize: Whether vectors are scaled to length 1.
        towers: 1 for shared weights, 2 for an entity tower of its own.

    Raises:
        InputError: If a value is out of its range.
    """

    max_epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    max_grad_norm: float
    lr_scheduler_type: str
    warmup_ratio: float
    temperature: float
    kb_mentions: int
    seed: int
    max_length: int
    emb_pooler_type: str
    normalize: bool
    towers: int

    def __post_init__(self) -> None:
        from transformers.trainer_utils import SchedulerType

        at_least = {"max_epochs": 1, "batch_size": 2, "kb_mentions": 0, "seed": 0, "max_length": 1, "towers": 1}
        for name, least in at_least.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise InputError(f"{_place(name)}={value!r} must be an integer of at least {least}")
        for name in ("learning_rate", "weight_decay", "max_grad_norm", "warmup_ratio", "temperature"):
            value = getattr(self, name)
            number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
            if not number or value < 0:
                raise InputError(f"{_place(name)}={value!r} must be a number of at least 0")
        if not isinstance(self.normalize, bool):
            raise InputError(f"{_place('normalize')}={self.normalize!r} must be true or false")
        if not self.learning_rate or not self.temperature or self.warmup_ratio > 1:
            raise InputError(
                f"learning_rate={self.learning_rate} and temperature={self.temperature} must be above 0 "
                f"and warmup_ratio={self.warmup_ratio} at most 1"
            )
        if self.towers > 2:
            raise InputError(f"{_place('towers')}={self.towers} must be 1 or 2")
        schedules = [schedule.value for schedule in SchedulerType]
        if self.lr_scheduler_type not in schedules:
            raise InputError(
                f"{_place('lr_scheduler_type')}={self.lr_scheduler_type!r}; choose from {', '.join(schedules)}"
            )
        check_pooler_type(self.emb_pooler_type)

    @classmethod
    def from_configuration(cls, configuration: Mapping[str, Any], **changes: Any) -> TrainingSettings:
        """Read the settings from a configuration.

        Args:
            configuration: A whole configuration.json, the shipped one with changes laid over it.
            **changes: Settings by name that go before it; None changes nothing.

        Returns:
            The settings.

        Raises:
            InputError: If a setting is missing or out of its range, or a change is unknown.
        """
        unknown = sorted(set(changes) - set(_PLACES))
        if unknown:
            raise InputError(f"unknown training setting {unknown[0]!r}; there are {', '.join(_PLACES)}")
        optimizer = _find(configuration, ("train", "optimizer", "type"))
        if optimizer not in (None, "AdamW"):
            raise InputError(f"train.optimizer.type={optimizer!r}; only AdamW is there")
        unused = sorted(
            ".".join(key) for key in _leaves(configuration.get("train") or {}, ("train",)) if not _is_known(key)
        )
        if unused:
            logger.warning("configuration.json: not used here: %s", ", ".join(unused))
        values = {name: _find(configuration, place) for name, place in _PLACES.items()}
        values |= {name: value for name, value in changes.items() if value is not None}
        missing = [name for name, value in values.items() if value is None]
        if missing:
            raise InputError(f"configuration.json lacks {_place(missing[0])}")
        return cls(**values)

    def to_sections(self) -> dict[str, Any]:
        """The settings in the layout of configuration.json."""
        sections: dict[str, Any] = {}
        for name, value in asdict(self).items():
            section = sections
            *path, last = _PLACES[name]
            for key in path:
                section = section.setdefault(key, {})
            section[last] = value
        return sections


def training_configuration(folder: Path) -> dict[str, Any]:
    """The shipped configuration with what a model folder's own says about the model and its training."""
    own = read_configuration(folder)
    sections = ("model", "preprocessor", "train", "evaluation")
    return merged(default_configuration(), {key: own[key] for key in sections if key in own})


def evaluation_ks(configuration: Mapping[str, Any]) -> list[int]:
    """The values of k that the ``evaluation`` section asks for."""
    for metric in (configuration.get("evaluation") or {}).get("metrics") or ():
        if isinstance(metric, Mapping) and metric.get("type") == Metrics.entity_recall:
            ks = metric.get("k", DEFAULT_KS)
            return check_ks(ks if isinstance(ks, list | tuple) else [ks])
    return list(DEFAULT_KS)


def _place(name: str) -> str:
    return ".".join(_PLACES[name])


def _find(configuration: Mapping[str, Any], place: tuple[str, ...]) -> Any:
    value: Any = configuration
    for key in place:
        if not isinstance(value, Mapping) or key not in value:
            return None
        value = value[key]
    return value


def _leaves(section: Mapping[str, Any], path: tuple[str, ...]) -> list[tuple[str, ...]]:
    leaves = []
    for key, value in section.items():
        leaves += _leaves(value, (*path, key)) if isinstance(value, Mapping) else [(*path, key)]
    return leaves


def _is_known(key: tuple[str, ...]) -> bool:
    return key in _OTHER_KEYS or key in _PLACES.values()
