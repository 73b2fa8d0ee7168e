"""The model card: the README.md of a published folder, in Chinese or English, made from what is known of the model."""

from __future__ import annotations

import json

from modelscope_plugin.data.markers import MENTION_END, MENTION_START
from modelscope_plugin.publishing.card import training as card_training
from modelscope_plugin.publishing.card import usage as card_usage
from modelscope_plugin.publishing.card.parts import CardFacts, Say, speaker, table

_REFERENCES = """\
```bibtex
@inproceedings{wu-etal-2020-scalable,
  title = {Scalable Zero-shot Entity Linking with Dense Entity Retrieval},
  author = {Wu, Ledell and Petroni, Fabio and Josifoski, Martin and Riedel, Sebastian and Zettlemoyer, Luke},
  booktitle = {Proceedings of the 2020 Conference on Empirical Methods in Natural Language Processing (EMNLP)},
  year = {2020}
}

@inproceedings{ma-etal-2021-muver,
  title = {{MuVER}: Improving First-Stage Entity Retrieval with Multi-View Entity Representations},
  author = {Ma, Xinyin and Jiang, Yong and Bach, Nguyen and Wang, Tao and Huang, Zhongqiang and Huang, Fei
            and Lu, Weiming},
  booktitle = {Proceedings of the 2021 Conference on Empirical Methods in Natural Language Processing},
  year = {2021}
}
```"""


def model_card(facts: CardFacts, language: str = "zh") -> str:
    """Write the card of a model.

    Args:
        facts: What is known of the model.
        language: ``zh`` or ``en``.

    Returns:
        The text of README.md, with the hub's metadata in front.

    Raises:
        InputError: If the language is another one.
    """
    say = speaker(language)
    parts = [
        _front_matter(facts, say),
        f"# {facts.name}",
        _description(facts, say),
        card_usage.usage(facts, say),
        card_usage.inputs(facts, say),
        card_usage.linking(facts, say),
        card_usage.other_libraries(facts, say),
        card_training.training(facts, say),
        card_training.results(facts, say),
        _limits(facts, say),
        _license_and_citation(facts, say),
    ]
    return "\n\n".join(parts) + "\n"


def _front_matter(facts: CardFacts, say: Say) -> str:
    """The hub's metadata as YAML; a JSON string is a YAML string."""
    tags = ["entity-linking", "entity-retrieval", "dual-encoder", facts.architecture]
    if facts.sentence_transformers:
        tags.append("sentence-transformers")
    lists = {
        "tasks": ["sentence-embedding"],
        "domain": ["nlp"],
        "frameworks": ["pytorch"],
        "language": ["zh"],
        "tags": tags,
    }
    lines = ["---"]
    for key, values in lists.items():
        lines += [f"{key}:", *(f"- {json.dumps(value)}" for value in values)]
    if facts.license:
        lines.append(f"license: {json.dumps(facts.license, ensure_ascii=False)}")
    if facts.base_model:
        lines += ["base_model:", f"- {json.dumps(facts.base_model)}"]
    lines += [
        "widgets:",
        "- task: sentence-embedding",
        "  inputs:",
        "  - type: text",
        "    name: source_sentence",
        "  - type: text-list",
        "    name: sentences_to_compare",
        "  examples:",
        f"  - name: {say('示例', 'example')}",
        "    inputs:",
        "    - data:",
        f"      - {json.dumps(card_usage.SOURCE, ensure_ascii=False)}",
        "    - data:",
        *(f"      - {json.dumps(candidate, ensure_ascii=False)}" for candidate in card_usage.CANDIDATES),
        "---",
    ]
    return "\n".join(lines)


def _description(facts: CardFacts, say: Say) -> str:
    text = say(
        "中文实体检索模型：双塔编码器把文本里的指称（mention）和知识库里的实体变成同一空间里的向量，"
        "点积最大的实体就是候选。"
        f"指称在文本里用 `{MENTION_START}` 和 `{MENTION_END}` 标出。"
        "它负责实体链接的召回一步，也可以作为句向量模型使用。",
        "A model for entity retrieval in Chinese: a dual encoder turns mentions in text and the entities of a "
        "knowledge base into vectors of one space, and the entities with the largest dot products are the candidates. "
        f"The mention is marked in its text with `{MENTION_START}` and `{MENTION_END}`. It is made for recall, the "
        "first step of entity linking, and works as a sentence-embedding model.",
    )
    poolers = {
        "cls": say("[CLS] 向量", "vector of [CLS]"),
        "avg": say("最后一层的平均", "mean of the last layer"),
        "avg_top2": say("最后两层的平均", "mean of the last two layers"),
        "avg_first_last": say("第一层与最后一层的平均", "mean of the first and the last layer"),
    }
    rows = [
        (
            say("编码器", "encoder"),
            say(f"{facts.architecture}，{facts.layers} 层", f"{facts.architecture}, {facts.layers} layers"),
        ),
        (
            say("塔", "towers"),
            say("共享权重", "shared weights") if facts.towers == 1 else say("各有权重", "separate weights"),
        ),
        (say("参数量", "parameters"), f"{facts.parameters:,}"),
        (say("向量", "vector"), say(f"{facts.dimension} 维，float32", f"{facts.dimension} dimensions, float32")),
        (say("池化", "pooling"), f"`{facts.emb_pooler_type}`{say('：', ': ')}{poolers[facts.emb_pooler_type]}"),
        (say("归一化", "scaled to length 1"), say("是", "yes") if facts.normalize else say("否", "no")),
        (say("窗口", "window"), say(f"{facts.max_length} 个 token", f"{facts.max_length} tokens")),
    ]
    return f"{text}\n\n{table((say('属性', 'property'), say('值', 'value')), rows)}"


def _limits(facts: CardFacts, say: Say) -> str:
    limits = [
        say(
            "指称的位置要由命名实体识别等步骤给出，模型自己不找指称。",
            "Where a mention stands has to come from a step such as named entity recognition; the model does not "
            "find it.",
        ),
        say(
            "总会返回候选，不判断知识库里有没有正确的实体（NIL）；最终排序和 NIL 需要后续步骤。",
            "It always returns candidates and does not tell whether the knowledge base has the right entity (NIL); the "
            "final ranking and NIL need a later step.",
        ),
        say(
            "分数是点积，不是概率，只能在同一个模型之内比较。",
            "Scores are dot products and no probabilities; they compare within one model only.",
        ),
        say(
            f"每个文本只看 {facts.max_length} 个 token；为中文设计。",
            f"It sees {facts.max_length} tokens of a text. It is meant for Chinese.",
        ),
        say(
            "换了模型，索引就要重建。",
            "An index belongs to one model and has to be built anew for another.",
        ),
    ]
    if (facts.training or {}).get("collapsed"):
        limits.append(
            say(
                "训练没有学到东西：最后的损失仍与随机猜测相当。",
                "Training has not learned anything: its last loss is still that of guessing.",
            )
        )
    if not facts.evaluation:
        limits.append(
            say(
                "效果没有评测，请先在自己的数据上测量。",
                "Its quality was not measured; measure it on data of yours first.",
            )
        )
    return f"## {say('局限', 'Limits')}\n\n" + "\n".join(f"- {limit}" for limit in limits)


def _license_and_citation(facts: CardFacts, say: Say) -> str:
    named = say(
        "另见 Huang et al. 2022（KENER），由 ModelScope 的“BERT 实体向量-中文-通用领域-base”模型卡片列出。",
        "See also Huang et al. 2022 (KENER), as named by the card of ModelScope's BERT 实体向量-中文-通用领域-base.",
    )
    method = say(
        "方法来自 BLINK（Wu et al. 2020）和 MuVER（Ma et al. 2021）：",
        "The method is that of BLINK (Wu et al. 2020) and MuVER (Ma et al. 2021):",
    )
    return f"""\
## {say("许可", "Licence")}

{facts.license or say("未注明。", "Not stated.")}

## {say("引用", "Citation")}

{method}

{_REFERENCES}

{named}"""
