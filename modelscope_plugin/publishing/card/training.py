"""The sections of a model card that come from the record of the training run; what is not recorded is not said."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelscope_plugin.config.training_settings import MiningSettings, TrainingSettings
from modelscope_plugin.publishing.card.parts import CardFacts, Say, table


def training(facts: CardFacts, say: Say) -> str:
    """How the model was trained."""
    title = f"## {say('训练', 'Training')}"
    record = facts.training
    if record is None:
        return f"{title}\n\n" + say(
            "文件夹里没有训练记录，因此这里不给出训练过程、数据和超参数。",
            "The folder has no record of a training run, so nothing is said here of procedure, data and "
            "hyper-parameters.",
        )
    started = say(
        f"从 `{facts.base_model}` 开始训练。" if facts.base_model else "记录里没有起点检查点的 hub id。",
        f"Training started from `{facts.base_model}`."
        if facts.base_model
        else "The record has no hub id of the checkpoint that training started from.",
    )
    method = say(
        "指称与它的实体向量的点积经过 softmax 交叉熵；同一批里其他指称的实体是负例，任何正确实体都不会成为负例。"
        "完整记录见 `training.json`。",
        "The loss is softmax cross-entropy over dot products; the entities of the other mentions in a batch are "
        "negatives, and no gold entity of a mention ever is. The whole record is `training.json`.",
    )
    parts = [title, started + say("", " ") + method, _stages(record, say), _settings(record, say), _data(record, say)]
    return "\n\n".join(part for part in parts if part)


def results(facts: CardFacts, say: Say) -> str:
    """Recall as it was measured, or that it was not."""
    title = f"## {say('评测', 'Evaluation')}"
    figures = facts.evaluation
    ks = sorted(int(name.removeprefix("recall@")) for name in figures if name.startswith("recall@"))
    if not ks:
        return f"{title}\n\n" + say("没有记录评测结果。", "No evaluation is recorded.")
    groups = {
        "": say("全部", "all"),
        "single_gold_": say("只有一个正确实体", "with one gold entity"),
        "seen_": say("训练中见过的实体", "entity seen in training"),
        "unseen_": say("训练中没见过的实体", "entity unseen in training"),
        "ambiguous_": say("名称由几个实体共用", "name that several entities share"),
        "unambiguous_": say("名称只属于一个实体", "name of one entity only"),
    }
    rows = [
        (name, figures[f"{group}mentions"], *(f"{100 * figures[f'{group}recall@{k}']:.1f}" for k in ks))
        for group, name in groups.items()
        if f"{group}mentions" in figures and f"{group}recall@{ks[0]}" in figures
    ]
    entities, mrr = figures.get("entities"), figures.get("mrr")
    training = None if facts.measured else facts.training
    if training is None:
        text = say(
            f"用 `modelscope entity evaluate` 在整个知识库（{entities} 个实体）上测得，单位 %。",
            f"Measured with `modelscope entity evaluate` over the whole knowledge base ({entities} entities), in %.",
        )
    else:
        text = say(
            f"训练结束时在整个知识库（{entities} 个实体）上、用开发集测得，单位 %。",
            f"Measured at the end of training over the whole knowledge base ({entities} entities) on the dev set, "
            "in %.",
        )
    if training and (len(training["stages"]) > 1 or training["settings"].get("eval_steps")):
        text += say("", " ") + say(
            "保留哪些权重也由开发集决定，所以这不是测试集成绩。",
            "The dev set also decided which weights were kept, so these are no figures of a test set.",
        )
    if figures.get("retrieval", "dense") != "dense":
        text += say("", " ") + say(
            f"检索方式为 `{figures['retrieval']}`，除向量外还用到名称。",
            f"Retrieval is `{figures['retrieval']}`, which looks at names beside vectors.",
        )
    if mrr is not None:
        text += say("", " ") + f"MRR@{ks[-1]} {100 * mrr:.1f}{say('。', '.')}"
    if training and _is_dev_set_of_training(training):
        text += say("", " ") + say(
            "开发集就是训练集，数字偏高。", "The dev set is the training set, so the figures are too high."
        )
    if unknown := figures.get("unknown_gold"):
        text += say("", " ") + say(
            f"其中 {unknown} 个指称的正确实体不在知识库里，计为未召回。",
            f"The gold entity of {unknown} mentions is not in the knowledge base; they count as missed.",
        )
    left_out = {
        "NIL": figures.get("nil_mentions", 0),
        say("无标注", "unlabelled"): figures.get("unlabelled_mentions", 0),
    }
    if any(left_out.values()):
        counts = say("、", ", ").join(f"{count} {name}" for name, count in left_out.items() if count)
        text += say("", " ") + say(f"未计入的指称：{counts}。", f"Mentions left out: {counts}.")
    headers = (say("指称", "mentions"), say("数量", "count"), *(f"Recall@{k}" for k in ks))
    return f"{title}\n\n{text}\n\n{table(headers, rows)}"


def _is_dev_set_of_training(record: Mapping[str, Any]) -> bool:
    data = record.get("data") or {}
    trained, measured = ((data.get(name) or {}).get("checksum") for name in ("train", "eval"))
    return trained is not None and trained == measured


def _stages(record: Mapping[str, Any], say: Say) -> str:
    """One row for each stage."""
    settings = record["settings"]
    rows = []
    for stage in record["stages"]:
        negatives = say("批内", "in-batch")
        if settings.get("random_negatives"):
            negatives += say(
                f"，每批 {settings['random_negatives']} 个随机", f", {settings['random_negatives']} random a batch"
            )
        if mining := stage.get("mining"):
            negatives += say(
                f"，每个指称 {settings['hard_negatives']} 个难负例"
                f"（为 {mining['mentions']} 个指称挖掘了 {mining['negatives']} 个）",
                f", {settings['hard_negatives']} hard ones a mention "
                f"({mining['negatives']} mined for {mining['mentions']} mentions)",
            )
        later = "stage_two_learning_rate" if stage["stage"] > 1 else "learning_rate"
        rate = settings.get(later) or settings.get("learning_rate")
        kept = say("（保留）", " (kept)") if stage["stage"] == record["stage"] and len(record["stages"]) > 1 else ""
        losses = " → ".join(f"{loss:.3f}" for loss in stage["losses"])
        rows.append((f"{stage['stage']}{kept}", negatives, len(stage["losses"]), f"{rate:g}", stage["steps"], losses))
    headers = (
        say("阶段", "stage"),
        say("负例", "negatives"),
        say("轮数", "epochs"),
        say("学习率", "learning rate"),
        say("步数", "steps"),
        say("每轮平均损失", "mean loss of each epoch"),
    )
    return table(headers, rows)


def _settings(record: Mapping[str, Any], say: Say) -> str:
    """The hyper-parameters, each under the name that it has in this package."""
    names = TrainingSettings.card_labels(say("zh", "en"))
    settings = record["settings"]
    rows = [(text, f"`{name}`", settings[name]) for name, text in names.items() if settings.get(name) is not None]
    rows += [(say("进程数", "processes"), "", record["processes"])] if "processes" in record else []
    if len(record["stages"]) > 1:
        names = MiningSettings.card_labels(say("zh", "en"))
        mining = record.get("mining") or {}
        rows += [(text, f"`{name}`", mining[name]) for name, text in names.items() if mining.get(name) is not None]
    versions = record.get("versions") or {}
    ran = say("、", ", ").join(f"{name} {version}" for name, version in versions.items())
    headers = (say("超参数", "hyper-parameter"), say("设置名", "name"), say("值", "value"))
    lines = [table(headers, rows)]
    if ran:
        lines.append(f"{say('版本', 'Versions')}{say('：', ': ')}{ran}")
    return "\n\n".join(lines)


def _data(record: Mapping[str, Any], say: Say) -> str:
    """How much data there was; its names are not recorded."""
    data = record.get("data") or {}
    rows = []
    if base := data.get("knowledge_base"):
        rows.append((say("知识库实体", "entities of the knowledge base"), base["count"]))
    if used := data.get("train"):
        rows.append((say("训练指称", "training mentions"), used["mentions"]))
        rows.append((say("其中不同的正确实体", "different gold entities among them"), used["entities"]))
        left_out = {
            "NIL": used["nil"],
            say("无标注", "unlabelled"): used["unlabelled"],
            say("知识库里没有", "not in the knowledge base"): used["unknown"],
        }
        rows += [
            (say(f"未使用的指称：{name}", f"mentions left out: {name}"), count)
            for name, count in left_out.items()
            if count
        ]
    if each := (record.get("settings") or {}).get("kb_mentions"):
        text = say(
            "每个名称从知识库自动生成的训练指称（至多）",
            "training mentions made of every name in the knowledge base, at most",
        )
        rows.append((text, each))
    if held_out := data.get("eval"):
        rows.append((say("开发集指称", "dev mentions"), held_out["count"]))
    if not rows:
        return ""
    return table((say("数据", "data"), say("数量", "count")), rows)
