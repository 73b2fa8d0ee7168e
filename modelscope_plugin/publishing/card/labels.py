"""What a card calls the settings of a training run, in both languages."""

from __future__ import annotations

_LABELS = {
    "batch_size": ("每个进程的批大小", "batch size of one process"),
    "mini_batch_size": ("梯度缓存的小批大小（0 表示不用）", "mini-batch of gradient caching (0 for none)"),
    "gradient_accumulation_steps": ("梯度累积步数", "gradient accumulation steps"),
    "lr_scheduler_type": ("学习率调度（AdamW）", "learning rate schedule (AdamW)"),
    "warmup_ratio": ("预热比例", "share of warm-up steps"),
    "weight_decay": ("权重衰减", "weight decay"),
    "max_grad_norm": ("梯度裁剪", "gradient clipping"),
    "temperature": ("温度", "temperature"),
    "symmetric": ("双向损失", "loss in both directions"),
    "dropout": ("dropout", "dropout"),
    "mixed_precision": ("混合精度", "mixed precision"),
    "max_length": ("窗口 token 数", "tokens of a window"),
    "views": ("每个实体的向量数（至多）", "vectors of an entity, at most"),
    "seed": ("随机种子", "seed"),
    "num_negatives": ("难负例挖掘：每个指称保留的个数", "mining: negatives kept for a mention"),
    "range_min": ("难负例挖掘：跳过的名次", "mining: ranks skipped"),
    "range_max": ("难负例挖掘：最后的名次", "mining: last rank"),
    "sampling_strategy": ("难负例挖掘：抽样方式", "mining: sampling strategy"),
    "absolute_margin": ("难负例挖掘：分差", "mining: margin"),
    "name_negatives": ("难负例挖掘：优先选取的同名实体数", "mining: entities of the same name, taken first"),
}


def card_labels(language: str) -> dict[str, str]:
    """The label of each setting that a card lists, by the setting's name, in the order of the card."""
    return {name: english if language == "en" else chinese for name, (chinese, english) in _LABELS.items()}
