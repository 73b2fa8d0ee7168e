"""The section ``train.reranking`` of configuration.json as settings, with what other trainings share with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from modelscope_plugin.config.model_settings import PipelineSettings
from modelscope_plugin.config.settings import Settings, setting, setting_of
from modelscope_plugin.config.training_settings import Schedule, TrainingSettings
from modelscope_plugin.errors import InputError


@dataclass(frozen=True)
class RerankingSettings(Settings):
    """What decides the training of a re-ranker, beside the data; the declarations say what each setting does.

    Raises:
        InputError: If a value has another type or is out of its range, or two values do not go together.
    """

    # fmt: off
    type: Literal["late-interaction", "cross-encoder"] = setting("train.reranking.type",
        help="late-interaction compares token vectors of a dual encoder, cross-encoder reads both texts together")
    loss: Literal["listwise", "binary"] = setting("train.reranking.loss",
        help="softmax over the list of a mention, or right and wrong for each of its candidates",
        zh="重排序：损失", en="re-ranking: loss")
    max_epochs: int = setting("train.reranking.max_epochs", least=1, option="--epochs", help="passes over the mentions")
    batch_size: int = setting("train.reranking.batch_size", least=1,
        help="mentions in a batch of one process, each with its list",
        zh="重排序：每个进程的批大小", en="re-ranking: batch size of one process")
    mini_batch_size: int = setting("train.reranking.mini_batch_size", least=0,
        help="mentions of a batch to read at once, for little memory; 0 for all")
    list_size: int = setting("train.reranking.list_size", least=2,
        help="candidates of a mention in a batch: a gold entity, and negatives drawn anew in each epoch",
        zh="重排序：每个指称的候选数", en="re-ranking: candidates of a mention")
    range_max: int = setting("train.reranking.range_max", least=1,
        help="the last rank of the first step to draw negatives from; gold entities have no rank",
        zh="重排序：负例的最后名次", en="re-ranking: last rank of negatives")
    learning_rate: float = setting("train.reranking.lr", above=0, metavar="RATE", help="peak learning rate of AdamW")
    temperature: float = setting("train.reranking.temperature", above=0, metavar="T",
        help="what the scores of late interaction are divided by in the loss")
    max_length: int | None = setting("train.reranking.max_length", least=1,
        help="tokens of a window, of a mention and an entity text together with cross-encoder; none for that of the "
        "base, and twice that with cross-encoder")
    rerank_top_k: int = setting_of(PipelineSettings, "rerank_top_k",
        help="candidates of the first step that are ranked anew where recall is measured")
    gradient_accumulation_steps: int = setting_of(TrainingSettings, "gradient_accumulation_steps",
        help="batches to one step")
    lr_scheduler_type: Schedule = setting_of(TrainingSettings, "lr_scheduler_type")
    warmup_ratio: float = setting_of(TrainingSettings, "warmup_ratio")
    weight_decay: float = setting_of(TrainingSettings, "weight_decay")
    max_grad_norm: float = setting_of(TrainingSettings, "max_grad_norm")
    dropout: float | None = setting_of(TrainingSettings, "dropout")
    mixed_precision: Literal["no", "bf16", "fp16"] = setting_of(TrainingSettings, "mixed_precision")
    kb_mentions: int = setting_of(TrainingSettings, "kb_mentions", path="train.reranking.kb_mentions")
    skip_unknown: bool = setting_of(TrainingSettings, "skip_unknown")
    eval_steps: int = setting_of(TrainingSettings, "eval_steps", path="train.reranking.eval_steps",
        help="measure recall every N steps and keep the best; 0 for each epoch")
    early_stopping_patience: int = setting_of(TrainingSettings, "early_stopping_patience",
        path="train.reranking.early_stopping_patience",
        help="end training after N measurements without a better one; 0 for never")
    save_steps: int = setting_of(TrainingSettings, "save_steps", path="train.reranking.save_steps")
    seed: int = setting_of(TrainingSettings, "seed")
    # fmt: on

    def _check_combination(self) -> None:
        if self.loss == "binary" and self.type == "late-interaction":
            raise InputError(
                "train.reranking.loss=binary needs train.reranking.type=cross-encoder: no score of late interaction "
                "parts right from wrong; use listwise"
            )
        if self.eval_steps and self.save_steps:
            raise InputError(
                "give train.reranking.eval_steps or train.reranking.save_steps: each measurement writes a checkpoint"
            )

    def epochs_of(self, stage: int) -> int:
        """The epochs of a stage; there is one."""
        return self.max_epochs

    def learning_rate_of(self, stage: int) -> float:
        """The peak learning rate of a stage; there is one."""
        return self.learning_rate
