"""The ``train`` section of configuration.json as settings."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from modelscope_plugin.config.configuration import (
    CONFIGURATION_FILE,
    default_configuration,
    merge_configurations,
    read_configuration,
)
from modelscope_plugin.config.evaluation_settings import find_ks
from modelscope_plugin.config.metainfo import Models
from modelscope_plugin.config.model_settings import ModelSettings, WindowSettings, find_model_type
from modelscope_plugin.config.settings import Settings, check_settings, setting, setting_of
from modelscope_plugin.errors import InputError, ModelFolderError
from modelscope_plugin.types import PoolerType

logger = logging.getLogger(__name__)

Schedule = Literal[
    "linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup", "inverse_sqrt"
]
"""How the learning rate changes over the steps, under the names that transformers gives to its schedules."""


@dataclass(frozen=True)
class TrainingSettings(Settings):
    """What decides a training run, beside the data; the declarations say what each setting does.

    Raises:
        InputError: If a value has another type or is out of its range, or two values do not go together.
    """

    # fmt: off
    stages: int = setting("train.stages", least=1,
        help="1 trains with in-batch negatives; 2 adds one with mined hard negatives, 3 a second one")
    max_epochs: int = setting("train.max_epochs", least=1, option="--epochs", help="passes over the mentions")
    stage_two_max_epochs: int = setting("train.stage_two.max_epochs", least=0, option="--stage-two-epochs",
        help="the same for later stages; 0 for as many")
    batch_size: int = setting("train.dataloader.batch_size_per_gpu", least=1,
        help="mentions in a batch of one process; their entities are each other's negatives",
        zh="每个进程的批大小", en="batch size of one process")
    mini_batch_size: int = setting("train.mini_batch_size", least=0,
        help="texts encoded at once: gradient caching for large batches in little memory; 0 for the whole batch",
        zh="梯度缓存的小批大小（0 表示不用）", en="mini-batch of gradient caching (0 for none)")
    gradient_accumulation_steps: int = setting("train.optimizer.options.cumulative_iters", least=1,
        help="batches to one step; unlike --mini-batch-size it does not enlarge the pool of negatives",
        zh="梯度累积步数", en="gradient accumulation steps")
    learning_rate: float = setting("train.optimizer.lr", above=0, metavar="RATE", help="peak learning rate of AdamW")
    stage_two_learning_rate: float = setting("train.stage_two.lr", least=0, metavar="RATE",
        help="the same for later stages; 0 for the same rate")
    lr_scheduler_type: Schedule = setting("train.lr_scheduler.type", metavar="NAME",
        help="linear, cosine, constant_with_warmup ...",
        zh="学习率调度（AdamW）", en="learning rate schedule (AdamW)")
    warmup_ratio: float = setting("train.lr_scheduler.warmup_ratio", least=0, most=1, metavar="SHARE",
        help="share of the steps in which the rate rises from 0", zh="预热比例", en="share of warm-up steps")
    weight_decay: float = setting("train.optimizer.weight_decay", least=0,
        help="weight decay of AdamW, not on biases and layer norms", zh="权重衰减", en="weight decay")
    max_grad_norm: float = setting("train.optimizer.options.grad_clip.max_norm", least=0,
        help="length gradients are clipped to; 0 for none", zh="梯度裁剪", en="gradient clipping")
    temperature: float = setting("train.temperature", above=0, metavar="T",
        help="what the scores are divided by in the loss", zh="温度", en="temperature")
    symmetric: bool = setting("train.symmetric",
        help="entities have to find their mentions too", zh="双向损失", en="loss in both directions")
    dropout: float | None = setting("train.dropout", least=0, below=1, metavar="SHARE",
        help="dropout in training; none for the checkpoint's own", zh="dropout", en="dropout")
    mixed_precision: Literal["no", "bf16", "fp16"] = setting("train.mixed_precision",
        help="number format of the encoder", zh="混合精度", en="mixed precision")
    max_length: int = setting_of(WindowSettings, "max_length")
    emb_pooler_type: PoolerType = setting_of(ModelSettings, "emb_pooler_type")
    normalize: bool = setting_of(ModelSettings, "normalize")
    towers: int = setting_of(ModelSettings, "towers")
    # Mixed negative sampling (Yang et al. 2020): without it an entity that is gold for no training mention is never
    # pushed away from anything.
    random_negatives: int = setting("train.random_negatives", least=0,
        help="entities drawn from the knowledge base into every batch of one process")
    hard_negatives: int = setting("train.hard_negatives", least=0,
        help="hard negatives of a mention in a batch, drawn anew in each epoch from all it has")
    # Ma et al. 2021, MuVER. Time and memory grow with it.
    views: int = setting("train.views", least=1,
        help="texts of an entity at most: itself, and its name with each sentence and fact; the best is its score",
        zh="每个实体的向量数（至多）", en="vectors of an entity, at most")
    kb_mentions: int = setting("train.kb_mentions", least=0,
        help="mentions to make from every name in the knowledge base")
    skip_unknown: bool = setting("train.skip_unknown",
        help="leave out mentions whose entity the knowledge base lacks; otherwise they are errors")
    eval_steps: int = setting("train.eval_steps", least=0,
        help="measure recall every N steps and keep the best; 0 for the end only")
    eval_max_entities: int = setting("train.eval_max_entities", least=1,
        help="measure so among at most so many entities: all gold ones and a sample")
    early_stopping_patience: int = setting("train.early_stopping_patience", least=0,
        help="end a stage after N measurements without a better one; 0 for never")
    save_steps: int = setting("train.save_steps", least=0, help="checkpoint every N steps; 0 for each epoch")
    seed: int = setting("train.seed", least=0, most=2**31 - 1,
        help="the one source of randomness", zh="随机种子", en="seed")
    # fmt: on

    def _check_combination(self) -> None:
        if self.stages > 1 and not self.hard_negatives:
            raise InputError("train.hard_negatives=0 leaves nothing to train stage two with; raise it")
        if self.early_stopping_patience and not self.eval_steps:
            raise InputError("train.early_stopping_patience needs train.eval_steps too")
        if self.eval_steps and self.save_steps:
            raise InputError("give train.eval_steps or train.save_steps: each measurement writes a checkpoint")

    def epochs_of(self, stage: int) -> int:
        """Passes over the training mentions in a stage."""
        return self.max_epochs if stage == 1 else self.stage_two_max_epochs or self.max_epochs

    def learning_rate_of(self, stage: int) -> float:
        """Peak learning rate of a stage."""
        return self.learning_rate if stage == 1 else self.stage_two_learning_rate or self.learning_rate


@dataclass(frozen=True)
class MiningSettings(Settings):
    """How hard negatives are chosen among the entities that a model ranks high.

    The names are those of ``mine_hard_negatives`` in sentence-transformers; the declarations say what each does.

    Raises:
        InputError: If a value has another type or is out of its range, or the range is empty.
    """

    # fmt: off
    num_negatives: int = setting("train.mining.num_negatives", least=1, help="hard negatives to keep for a mention",
        zh="难负例挖掘：每个指称保留的个数", en="mining: negatives kept for a mention")
    range_min: int = setting("train.mining.range_min", least=0,
        help="how many of the best-ranked entities to pass over; gold entities have no rank",
        zh="难负例挖掘：跳过的名次", en="mining: ranks skipped")
    range_max: int = setting("train.mining.range_max", least=1,
        help="the last rank to look at", zh="难负例挖掘：最后的名次", en="mining: last rank")
    sampling_strategy: Literal["random", "top"] = setting("train.mining.sampling_strategy",
        help="draw from the range, or take its best", zh="难负例挖掘：抽样方式", en="mining: sampling strategy")
    absolute_margin: float | None = setting("train.mining.absolute_margin", least=0,
        help="leave out what scores higher than the best gold entity minus X; none for no limit",
        zh="难负例挖掘：分差", en="mining: margin")
    name_negatives: int = setting("train.mining.name_negatives", least=0,
        help="entities of the same name as the mention or a gold entity to take before all others",
        zh="难负例挖掘：优先选取的同名实体数", en="mining: entities of the same name, taken first")
    seed: int = setting_of(TrainingSettings, "seed", help="seed of the draw", zh="", en="")
    # fmt: on

    def _check_combination(self) -> None:
        if self.range_max <= self.range_min:
            raise InputError(
                f"train.mining.range_max={self.range_max} must be more than train.mining.range_min={self.range_min}"
            )


@dataclass(frozen=True)
class RunSettings(Settings):
    """What ModelScope's own trainers read in ``train`` as well; no option sets them."""

    work_dir: str = setting("train.work_dir", option=None, help="folder that a trainer writes to")
    optimizer: Literal["AdamW"] = setting("train.optimizer.type", option=None, help="the optimiser")


_KINDS = (TrainingSettings, MiningSettings, RunSettings)


def read_training_configuration(
    folder: Path, overrides: Mapping[Path, Mapping[str, Any]] | None = None, kinds: Sequence[type[Settings]] = ()
) -> dict[str, Any]:
    """Read how a model is to be trained, indexed and evaluated.

    Args:
        folder: The model folder. What others write about training into its configuration.json is not used.
        overrides: What further files hold, by their path; the last one goes before all others.
        kinds: Further settings to check in all files.

    Returns:
        The shipped configuration with the changes of all files.

    Raises:
        ModelFolderError: If a file is damaged, or a setting in it has another type or is out of its range.
    """
    own = read_configuration(folder)
    sections = ["model", "preprocessor"]
    if find_model_type(own, folder) == Models.entity_embedding:
        sections += ["train", "index", "evaluation"]
    used = {key: own[key] for key in sections if key in own}
    configuration = default_configuration()
    for path, changes in ((folder / CONFIGURATION_FILE, used), *(overrides or {}).items()):
        check_settings(changes, path, *_KINDS, *kinds)
        try:
            find_ks(changes)
        except InputError as error:
            raise ModelFolderError(f"{path}: {error}") from None
        configuration = merge_configurations(configuration, changes)
    return configuration


def read_training_settings(configuration: Mapping[str, Any], **changes: Any) -> tuple[TrainingSettings, MiningSettings]:
    """Read all settings of a training run from a whole configuration.json.

    Keys of the ``train`` section that are not used are named in a warning.

    Args:
        configuration: The shipped configuration with changes merged into it.
        **changes: Settings of either kind by name that override it; None changes nothing, `NONE` sets a setting to
            null.

    Returns:
        How to train and how to mine.

    Raises:
        InputError: If a setting has another type or is out of its range, or a change is unknown.
    """
    RunSettings.from_configuration(configuration)
    known = {one.path for kind in _KINDS for one in kind.declarations().values()}
    paths = _list_paths(configuration.get("train") or {}, "train")
    # The section of re-rankers has settings of its own.
    unused = [path for path in paths if path not in known and not path.startswith("train.reranking.")]
    if unused:
        logger.warning("configuration.json: not used here: %s", ", ".join(sorted(unused)))
    mining = {name: value for name, value in changes.items() if name in MiningSettings.declarations()}
    training = {name: value for name, value in changes.items() if name == "seed" or name not in mining}
    return (
        TrainingSettings.from_configuration(configuration, **training),
        MiningSettings.from_configuration(configuration, **mining),
    )


def _list_paths(section: Mapping[str, Any], path: str) -> list[str]:
    """The paths of all values in a section and the sections inside it."""
    paths = []
    for key, value in section.items():
        inner = f"{path}.{key}"
        paths += _list_paths(value, inner) if isinstance(value, Mapping) else [inner]
    return paths
