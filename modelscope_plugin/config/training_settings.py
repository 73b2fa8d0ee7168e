"""The ``train`` section of configuration.json as checked settings."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, TypeAlias, TypeVar, get_args

from modelscope_plugin.config.configuration import default_configuration, merged, read_configuration
from modelscope_plugin.config.metainfo import Models
from modelscope_plugin.errors import InputError
from modelscope_plugin.types import PoolerType

logger = logging.getLogger(__name__)

Places: TypeAlias = dict[str, tuple[str, ...]]
"""Where each setting stands in configuration.json, in ModelScope's own layout."""

NONE = "none"
"""A change that sets a setting to null, where it can be; None changes nothing."""

_S = TypeVar("_S", bound="_Settings")

_SCHEDULES = (
    "linear",
    "cosine",
    "cosine_with_restarts",
    "polynomial",
    "constant",
    "constant_with_warmup",
    "inverse_sqrt",
)


@dataclass(frozen=True)
class _Settings:
    """What settings of both kinds have in common."""

    places: ClassVar[Places]

    @classmethod
    def from_configuration(cls: type[_S], configuration: Mapping[str, Any], **changes: Any) -> _S:
        """Read the settings from a configuration.

        Args:
            configuration: A whole configuration.json, the shipped one with changes laid over it.
            **changes: Settings by name that go before it; None changes nothing, `NONE` sets what can be null so.

        Returns:
            The settings.

        Raises:
            InputError: If a setting is missing or out of its range, or a change is unknown.
        """
        unknown = sorted(set(changes) - set(cls.places))
        if unknown:
            raise InputError(f"unknown training setting {unknown[0]!r}; there are {', '.join(cls.places)}")
        values = {}
        for name, place in cls.places.items():
            if changes.get(name) is not None:
                null = changes[name] == NONE and name in cls._optional()
                values[name] = None if null else changes[name]
            else:
                values[name] = _find(configuration, place)
        return cls(**values)

    def to_sections(self) -> dict[str, Any]:
        """The settings in the layout of configuration.json."""
        sections: dict[str, Any] = {}
        for name, value in asdict(self).items():
            section = sections
            *path, last = self.places[name]
            for key in path:
                section = section.setdefault(key, {})
            section[last] = value
        return sections

    def __post_init__(self) -> None:
        for name in self.places:
            if getattr(self, name) is None and name not in self._optional():
                raise InputError(f"configuration.json lacks {self._place(name)}")

    @classmethod
    def _optional(cls) -> set[str]:
        return {field.name for field in fields(cls) if "None" in str(field.type)}

    def _place(self, name: str) -> str:
        return ".".join(self.places[name])

    def _check_integers(self, **least: int) -> None:
        for name, low in least.items():
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < low):
                raise InputError(f"{self._place(name)}={value!r} must be an integer of at least {low}")

    def _check_numbers(self, *names: str) -> None:
        for name in names:
            value = getattr(self, name)
            number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
            if value is not None and (not number or value < 0):
                raise InputError(f"{self._place(name)}={value!r} must be a number of at least 0")

    def _check_choice(self, name: str, choices: tuple[str, ...]) -> None:
        if getattr(self, name) not in choices:
            raise InputError(f"{self._place(name)}={getattr(self, name)!r}; choose from {', '.join(choices)}")


@dataclass(frozen=True)
class TrainingSettings(_Settings):
    """What decides a training run, beside the data; defaults stand in configuration.json.

    Attributes:
        stages: 1 for in-batch negatives alone; each further stage first mines hard negatives with the model
            of the stage before and goes on from it.
        max_epochs: Passes over the training mentions.
        stage_two_max_epochs: The same for the second stage and later ones; 0 for as many.
        batch_size: Mentions, each with its entity, in a batch of one process; the other entities are the
            negatives.
        mini_batch_size: Texts encoded at once with gradient caching, which gives the gradients of the whole
            batch in the memory of so many texts; 0 encodes the batch as a whole.
        gradient_accumulation_steps: Batches to one step of the optimiser. They do not see each other's
            entities: for more negatives raise ``batch_size`` and set ``mini_batch_size``.
        learning_rate: Peak learning rate of AdamW.
        stage_two_learning_rate: The same for the second stage and later ones; 0 for the same.
        weight_decay: Weight decay, not on biases and layer norms.
        max_grad_norm: Length to which gradients are clipped; 0 for no clipping.
        lr_scheduler_type: ``linear``, ``cosine``, ``constant_with_warmup`` ..., as transformers has them.
        warmup_ratio: Share of the steps in which the rate rises from 0.
        mixed_precision: ``no``, ``bf16`` or ``fp16``.
        dropout: Dropout of the towers in training; None for the checkpoint's own.
        temperature: What the scores are divided by in the loss.
        symmetric: Whether each entity must also find its mention among those of the batch.
        random_negatives: Entities drawn from the whole knowledge base into every batch of one process, as
            negatives of all its mentions (mixed negative sampling, Yang et al. 2020): without them an entity
            that is no gold in training is never pushed away from anything.
        hard_negatives: Hard negatives of a mention in a batch, drawn anew each epoch from all it has.
        views: Texts that an entity is written as, at most: itself, and its name with each sentence and fact; the
            best of them is its score (Ma et al. 2021). 1 for one text. Time and memory grow with it.
        kb_mentions: Training mentions made from every name in the knowledge base itself, beside the
            labelled ones (see `modelscope_plugin.data.kb_mentions`).
        skip_unknown: Whether mentions whose entity the knowledge base lacks are left out; otherwise they
            are an error.
        eval_steps: Measure recall, and keep the best weights, every so many steps; 0 for the end only.
        eval_max_entities: Entities that such a measurement takes at most: all gold ones and a sample.
        early_stopping_patience: End a stage after so many measurements without a better one; 0 for never.
        save_steps: Write a checkpoint every so many steps; 0 for each epoch.
        seed: The one source of randomness.
        max_length: Tokens of a window.
        emb_pooler_type: ``cls``, ``avg``, ``avg_top2`` or ``avg_first_last``.
        normalize: Whether vectors are scaled to length 1.
        towers: 1 for shared weights, 2 for an entity tower of its own.

    Raises:
        InputError: If a value is out of its range.
    """

    stages: int
    max_epochs: int
    stage_two_max_epochs: int
    batch_size: int
    mini_batch_size: int
    gradient_accumulation_steps: int
    learning_rate: float
    stage_two_learning_rate: float
    weight_decay: float
    max_grad_norm: float
    lr_scheduler_type: str
    warmup_ratio: float
    mixed_precision: str
    dropout: float | None
    temperature: float
    symmetric: bool
    random_negatives: int
    hard_negatives: int
    views: int
    kb_mentions: int
    skip_unknown: bool
    eval_steps: int
    eval_max_entities: int
    early_stopping_patience: int
    save_steps: int
    seed: int
    max_length: int
    emb_pooler_type: str
    normalize: bool
    towers: int

    places: ClassVar[Places] = {
        "stages": ("train", "stages"),
        "max_epochs": ("train", "max_epochs"),
        "stage_two_max_epochs": ("train", "stage_two", "max_epochs"),
        "batch_size": ("train", "dataloader", "batch_size_per_gpu"),
        "mini_batch_size": ("train", "mini_batch_size"),
        "gradient_accumulation_steps": ("train", "optimizer", "options", "cumulative_iters"),
        "learning_rate": ("train", "optimizer", "lr"),
        "stage_two_learning_rate": ("train", "stage_two", "lr"),
        "weight_decay": ("train", "optimizer", "weight_decay"),
        "max_grad_norm": ("train", "optimizer", "options", "grad_clip", "max_norm"),
        "lr_scheduler_type": ("train", "lr_scheduler", "type"),
        "warmup_ratio": ("train", "lr_scheduler", "warmup_ratio"),
        "mixed_precision": ("train", "mixed_precision"),
        "dropout": ("train", "dropout"),
        "temperature": ("train", "temperature"),
        "symmetric": ("train", "symmetric"),
        "random_negatives": ("train", "random_negatives"),
        "hard_negatives": ("train", "hard_negatives"),
        "views": ("train", "views"),
        "kb_mentions": ("train", "kb_mentions"),
        "skip_unknown": ("train", "skip_unknown"),
        "eval_steps": ("train", "eval_steps"),
        "eval_max_entities": ("train", "eval_max_entities"),
        "early_stopping_patience": ("train", "early_stopping_patience"),
        "save_steps": ("train", "save_steps"),
        "seed": ("train", "seed"),
        "max_length": ("preprocessor", "max_length"),
        "emb_pooler_type": ("model", "emb_pooler_type"),
        "normalize": ("model", "normalize"),
        "towers": ("model", "towers"),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_integers(
            stages=1, max_epochs=1, stage_two_max_epochs=0, batch_size=1, mini_batch_size=0,
            random_negatives=0, hard_negatives=0, views=1, gradient_accumulation_steps=1, kb_mentions=0, eval_steps=0,
            eval_max_entities=1, save_steps=0, early_stopping_patience=0, seed=0, max_length=1, towers=1,
        )  # fmt: skip
        self._check_numbers(
            "learning_rate", "stage_two_learning_rate", "weight_decay", "max_grad_norm", "warmup_ratio", "dropout",
            "temperature",
        )  # fmt: skip
        for name in ("normalize", "symmetric", "skip_unknown"):
            if not isinstance(getattr(self, name), bool):
                raise InputError(f"{self._place(name)}={getattr(self, name)!r} must be true or false")
        for name in ("learning_rate", "temperature"):
            if getattr(self, name) == 0:
                raise InputError(f"{self._place(name)}=0 must be above 0")
        if self.seed >= 2**31:
            raise InputError(f"{self._place('seed')}={self.seed} must be below 2**31")
        if self.warmup_ratio > 1:
            raise InputError(f"{self._place('warmup_ratio')}={self.warmup_ratio} must be at most 1")
        if self.dropout is not None and self.dropout >= 1:
            raise InputError(f"{self._place('dropout')}={self.dropout} must be below 1")
        if self.towers > 2:
            raise InputError(f"{self._place('towers')}={self.towers} must be 1 or 2")
        if self.stages > 1 and not self.hard_negatives:
            raise InputError(f"{self._place('hard_negatives')}=0 leaves nothing to train stage two with; raise it")
        if self.early_stopping_patience and not self.eval_steps:
            raise InputError(f"{self._place('early_stopping_patience')} needs {self._place('eval_steps')} too")
        if self.eval_steps and self.save_steps:
            raise InputError(
                f"give {self._place('eval_steps')} or {self._place('save_steps')}: each measurement writes a checkpoint"
            )
        self._check_choice("lr_scheduler_type", _SCHEDULES)
        self._check_choice("mixed_precision", ("no", "bf16", "fp16"))
        self._check_choice("emb_pooler_type", get_args(PoolerType))

    def epochs_of(self, stage: int) -> int:
        """Passes over the training mentions in a stage."""
        return self.max_epochs if stage == 1 else self.stage_two_max_epochs or self.max_epochs

    def learning_rate_of(self, stage: int) -> float:
        """Peak learning rate of a stage."""
        return self.learning_rate if stage == 1 else self.stage_two_learning_rate or self.learning_rate


@dataclass(frozen=True)
class MiningSettings(_Settings):
    """How hard negatives are chosen among the entities that a model ranks high.

    The names are those of ``mine_hard_negatives`` in sentence-transformers.

    Attributes:
        num_negatives: How many to keep for each mention.
        range_min: How many of the best-ranked entities to pass over. Gold entities have no rank.
        range_max: The last rank to look at.
        sampling_strategy: ``random`` draws from the range, ``top`` takes its best.
        absolute_margin: Leave out what is not at least this much below the score of the mention's best gold
            entity; None for no such limit.
        name_negatives: How many entities that share a name with a gold entity, or with the mention, are taken
            before all others; they too count as hard negatives.
        seed: Seed of the draw.

    Raises:
        InputError: If a value is out of its range.
    """

    num_negatives: int
    range_min: int
    range_max: int
    sampling_strategy: str
    absolute_margin: float | None
    name_negatives: int
    seed: int

    places: ClassVar[Places] = {
        "num_negatives": ("train", "mining", "num_negatives"),
        "range_min": ("train", "mining", "range_min"),
        "range_max": ("train", "mining", "range_max"),
        "sampling_strategy": ("train", "mining", "sampling_strategy"),
        "absolute_margin": ("train", "mining", "absolute_margin"),
        "name_negatives": ("train", "mining", "name_negatives"),
        "seed": ("train", "seed"),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_integers(num_negatives=1, range_min=0, range_max=1, name_negatives=0, seed=0)
        self._check_numbers("absolute_margin")
        self._check_choice("sampling_strategy", ("random", "top"))
        if self.range_max <= self.range_min:
            raise InputError(
                f"{self._place('range_max')}={self.range_max} must be more than "
                f"{self._place('range_min')}={self.range_min}"
            )


_OTHER_KEYS = {("train", "work_dir"), ("train", "optimizer", "type")}
_KNOWN_KEYS = {*_OTHER_KEYS, *TrainingSettings.places.values(), *MiningSettings.places.values()}


def training_configuration(folder: Path) -> dict[str, Any]:
    """The shipped configuration with what a model folder's own says about the model and its training."""
    own = read_configuration(folder)
    for key, value in own.items():
        if key in ("model", "preprocessor", "train", "index", "evaluation") and not isinstance(value, Mapping | None):
            raise InputError(f"{folder}/configuration.json: {key} must be an object, not {value!r}")
    sections = ["model", "preprocessor"]
    if (own.get("model") or {}).get("type") == Models.entity_embedding:
        # What others write into these sections is for their trainers.
        sections += ["train", "index", "evaluation"]
    return merged(default_configuration(), {key: own[key] for key in sections if own.get(key) is not None})


def training_settings(configuration: Mapping[str, Any], **changes: Any) -> tuple[TrainingSettings, MiningSettings]:
    """All settings of a training run, from a whole configuration.json.

    Args:
        configuration: The shipped configuration with changes laid over it.
        **changes: Settings of either kind by name that go before it; None changes nothing, `NONE` sets what can be
            null so.

    Returns:
        How to train and how to mine.

    Raises:
        InputError: If a setting is missing or out of its range, or a change is unknown. Keys of the ``train``
            section that mean nothing here are named in a warning.
    """
    optimizer = _find(configuration, ("train", "optimizer", "type"))
    if optimizer not in (None, "AdamW"):
        raise InputError(f"train.optimizer.type={optimizer!r}; only AdamW is there")
    unused = [key for key in _leaves(configuration.get("train") or {}, ("train",)) if key not in _KNOWN_KEYS]
    if unused:
        logger.warning("configuration.json: not used here: %s", ", ".join(sorted(".".join(key) for key in unused)))
    mining = {name: value for name, value in changes.items() if name in MiningSettings.places}
    training = {name: value for name, value in changes.items() if name == "seed" or name not in mining}
    return (
        TrainingSettings.from_configuration(configuration, **training),
        MiningSettings.from_configuration(configuration, **mining),
    )


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
