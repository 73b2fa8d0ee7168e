"""The sections of a model card that say how to use the model. Every Python block in them runs as it stands."""

from __future__ import annotations

import json
import shlex

from modelscope_plugin.publishing.card.parts import CardFacts, Say, table
from modelscope_plugin.publishing.export.carried_code import CODE_FOLDER

SOURCE = "宋小宝小品《美人鱼》， [ENT_S] 大鹏 [ENT_E] 上演生死离别，关键时刻美人鱼登场"
CANDIDATES = (
    "董成鹏； 类型： Person； 别名： Da Peng， 大鹏;",
    "鲲鹏； 类型： VirtualThings； 别名： 大鹏; 庄子笔下的神鸟",
)
"""The example of the card and of the widget."""

PLUGIN_IMPORT = "import modelscope_plugin\n"
"""What the snippet of a plain folder begins with."""


def usage(facts: CardFacts, say: Say) -> str:
    """The snippet that everybody starts with."""
    trust = ", trust_remote_code=True" if facts.standalone else ""
    return f"""\
## {say("怎么用", "How to use it")}

{_needed(facts, say)}

```python
{"" if facts.standalone else PLUGIN_IMPORT}from modelscope.pipelines import pipeline
from modelscope.utils.constant import Tasks

pipe = pipeline(Tasks.sentence_embedding, model={_quoted(facts.name)}{trust})
result = pipe(
    {{
        "source_sentence": [{_quoted(SOURCE)}],
        "sentences_to_compare": [
            {_quoted(CANDIDATES[0])},
            {_quoted(CANDIDATES[1])},
        ],
    }}
)
print(result["text_embedding"].shape)  # (3, {facts.dimension})
print(result["scores"])
```

{
        say(
            f"`text_embedding` 是 float32 数组，每行 {facts.dimension} 维，源句在前、候选在后；"
            "`scores` 是源句与各候选的点积，有几个源句时每句一个列表。",
            f"`text_embedding` is a float32 array of {facts.dimension} columns, sources first, then candidates; "
            "`scores` are the dot products of the source with each candidate, one list for each source where there are "
            "several. ",
        )
    }{_why(facts, say)}"""


def _needed(facts: CardFacts, say: Say) -> str:
    if facts.standalone:
        return say(
            "只需要 ModelScope（`pip install 'modelscope[framework]'`）、torch 和 transformers：",
            "It needs nothing but ModelScope (`pip install 'modelscope[framework]'`), torch and transformers:",
        )
    return _install(say) + say("，再运行：", ", then run:")


def _why(facts: CardFacts, say: Say) -> str:
    if facts.standalone:
        return say(
            f"`trust_remote_code=True` 不能省略：模型的代码在文件夹的 `{CODE_FOLDER}` 里，由 ModelScope 执行，"
            "请先看过再信任。装有 modelscope_plugin 时，用的是安装的那些类。",
            "`trust_remote_code=True` is needed: the code of the model is in its folder "
            f"`{CODE_FOLDER}` and ModelScope runs it; read it before you trust it. Where modelscope_plugin is "
            "installed, its classes are used.",
        )
    return say(
        "`import modelscope_plugin` 不能省略：它向 ModelScope 注册本模型的类型，没有它，ModelScope 会报告 "
        "`KeyError: ... is not in the ... registry`；不需要 `trust_remote_code`。",
        "`import modelscope_plugin` is needed: it registers the types of this model with ModelScope, which otherwise "
        "says `KeyError: ... is not in the ... registry`; `trust_remote_code` is not.",
    )


def _install(say: Say) -> str:
    return say(
        "先从源码安装 modelscope_plugin（在它的仓库里运行 `pip install -c constraints.txt .`）",
        "Install modelscope_plugin from its source (in its repository: `pip install -c constraints.txt .`)",
    )


def inputs(facts: CardFacts, say: Say) -> str:
    """How mentions and entities are written."""
    rows = [
        (
            say("带标记的文本", "text with markers"),
            f"`{json.dumps('小品里 [ENT_S] 大鹏 [ENT_E] 很好笑', ensure_ascii=False)}`",
        ),
        (
            say("文本与字符位置", "text with character offsets"),
            f"`{json.dumps({'text': '小品里大鹏很好笑', 'start': 3, 'end': 5}, ensure_ascii=False)}`",
        ),
        (say("实体", "entity"), f"`{CANDIDATES[0]}`"),
    ]
    text = [
        f"## {say('输入格式', 'Input format')}",
        table((say("输入", "input"), say("写法", "how it is written")), rows),
        say(
            "每个源句标出一个指称：用标记 `[ENT_S]` 和 `[ENT_E]`，或者给出从 0 开始的字符位置（`end` 不含在内）。"
            "实体文本依次是名称、类型、别名，然后是描述，可以缺省。",
            "A source marks one mention, with the markers `[ENT_S]` and `[ENT_E]` or with character offsets from 0 on, "
            "`end` excluded. An entity text has name, types and aliases, then the description; what is unknown is left "
            "out.",
        ),
        say(
            f"窗口为 {facts.max_length} 个 token，以指称为中心，长文本里的指称和标记不会被截掉；实体文本保留开头。",
            f"The window has {facts.max_length} tokens and is centred on the mention, so that a long text never loses "
            "mention or markers; an entity text keeps its beginning.",
        ),
    ]
    if not facts.has_markers:
        text.append(
            say(
                "本模型的词表里没有这两个标记，它们会被切成词片。",
                "The vocabulary of this model lacks the markers; they are split into word pieces.",
            )
        )
    prefixes = [
        f"{kind} `{prefix}`"
        for kind, prefix in (
            (say("源句", "sources:"), facts.mention_prefix),
            (say("实体", "entities:"), facts.entity_prefix),
        )
        if prefix
    ]
    if prefixes:
        text.append(
            say("自动加在前面的文字：", "Text that is put in front automatically: ") + say("；", "; ").join(prefixes)
        )
    return "\n\n".join(text)


def linking(facts: CardFacts, say: Say) -> str:
    """How mentions are linked to a knowledge base."""
    name = _quoted(facts.name)
    views = ((facts.training or {}).get("settings") or {}).get("views", 1)
    imported, wanted = (", ViewSettings", f", views=ViewSettings({views})") if views > 1 else ("", "")
    needed = _install(say) + say("。", ". ") if facts.standalone else ""
    return f"""\
## {say("链接到自己的知识库", "Linking against your own knowledge base")}

{needed}{
        say(
            "知识库每行一个 JSON：`id`、`name`，以及可选的 `aliases`、`types`、`description`、`facts`。",
            "The knowledge base has one JSON object a line: `id`, `name`, and optionally `aliases`, `types`, "
            "`description`, `facts`.",
        )
    }

```bash
modelscope entity index kb.jsonl --model {shlex.quote(facts.name)} --out INDEX
modelscope entity link --index INDEX --text "小品里 [ENT_S] 大鹏 [ENT_E] 很好笑"
```

{_brought_along(facts, say)}{say("或者在 Python 里：", "Or in Python:")}

```python
from modelscope_plugin import Entity, EntityEncoder, EntityLinker, Mention{imported}, build_index

encoder = EntityEncoder.from_pretrained({name})
entities = [
    Entity("dapeng", "董成鹏", aliases=("大鹏", "Da Peng"), types=("Person",), description="内地演员和导演"),
    Entity("roc", "鲲鹏", aliases=("大鹏",), types=("VirtualThings",), description="庄子笔下的神鸟"),
]
linker = EntityLinker(encoder, build_index(encoder, entities{wanted}))
print(linker.link([Mention("小品里大鹏很好笑", 3, 5)], top_k=2))
```{_onnx(facts, say)}"""


def _onnx(facts: CardFacts, say: Say) -> str:
    """That the folder has ONNX files, if it has."""
    if not facts.onnx:
        return ""
    told = say(
        "文件夹里有 ONNX 文件（float32 和 8 位），在 CPU 上编码更快；上面的命令加 `--backend onnx-int8` 或者这样写：",
        "The folder has ONNX files, in float32 and 8 bits, for faster encoding on a CPU: `--backend onnx-int8` with "
        "the commands above, or",
    )
    return f"""

{told}

```python
from modelscope_plugin import EntityEncoder

encoder = EntityEncoder.from_pretrained({_quoted(facts.name)}, backend="onnx-int8")
print(encoder.encode_query([{_quoted("小品里 [ENT_S] 大鹏 [ENT_E] 很好笑")}]).shape)
```"""


def _brought_along(facts: CardFacts, say: Say) -> str:
    """That the folder has an index of its own, if it has."""
    if not facts.indexed:
        return ""
    told = say(
        f"模型附带一个有 {facts.indexed} 个实体的索引，不给 `--index` 时就用它：",
        f"The model brings an index of {facts.indexed} entities along, which is used without `--index`:",
    )
    command = f'modelscope entity link --model {shlex.quote(facts.name)} --text "小品里 [ENT_S] 大鹏 [ENT_E] 很好笑"'
    return f"{told}\n\n```bash\n{command}\n```\n\n"


def other_libraries(facts: CardFacts, say: Say) -> str:
    """How sentence-transformers opens the folder, or that it does not."""
    title = "## sentence-transformers\n\n"
    if not facts.sentence_transformers:
        return title + say(
            "sentence-transformers 把前缀和文字连在一起切分，得到的 token 与本模型的不同，向量也就不同，"
            "因此没有附带它需要的文件。",
            "sentence-transformers splits prefix and text as one and makes other tokens than this model was meant for. "
            "It would give other vectors, so the files it needs are not here.",
        )
    name, imports, place = _quoted(facts.name), "", _quoted(facts.name)
    if facts.is_hub_id:
        imports, place = "from modelscope import snapshot_download\n", f"snapshot_download({name})"
    routes = say(
        "`encode` 与 `encode_query` 给出指称的向量，`encode_document` 给出实体的向量。",
        "`encode` and `encode_query` give the vectors of mentions, `encode_document` those of entities.",
    )
    window = say(
        f"只要文本在 {facts.max_length} 个 token 之内，向量与上面的相同；更长的文本在 sentence-transformers "
        "里只保留开头，而不是以指称为中心。输入必须带标记，不能用字符位置。",
        f"The vectors are those from above as long as a text has at most {facts.max_length} tokens; of a longer text "
        "sentence-transformers keeps the beginning and not the window around the mention. Mentions have to be marked; "
        "it does not know offsets.",
    )
    return f"""{title}{
        say(
            "同一个文件夹也可以用 sentence-transformers（5.1 或 6）打开：",
            "sentence-transformers (5.1 or 6) opens the same folder:",
        )
    }

```python
{imports}from sentence_transformers import SentenceTransformer

model = SentenceTransformer({place})
mentions = model.encode_query([{_quoted(SOURCE)}])
entities = model.encode_document([{_quoted(CANDIDATES[0])}, {_quoted(CANDIDATES[1])}])
print(model.similarity(mentions, entities))
```

{routes}{say("", " ")}{window}"""


def _quoted(text: str) -> str:
    """A Python string literal; JSON's form is one."""
    return json.dumps(text, ensure_ascii=False)
