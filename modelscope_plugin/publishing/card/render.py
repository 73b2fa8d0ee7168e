"""The model card and its snippets, rendered from templates that read as the text they become.

Every value is escaped for where it is put. Markdown is the default, so that a template cannot forget it; the filters
``code`` and ``cell_code`` (inline code), ``python`` and ``shell`` (fenced code) escape for other places, and mark what
they return as escaped.
"""

from __future__ import annotations

import json
import re
import shlex
import unicodedata
from typing import Any, Literal, get_args

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from modelscope_plugin.checks import check_choice
from modelscope_plugin.config.training_settings import MiningSettings, TrainingSettings
from modelscope_plugin.publishing.card.facts import CardFacts, SnippetFacts
from modelscope_plugin.publishing.card.head import write_head

Language = Literal["zh", "en"]
"""The languages that a card can be written in."""

SnippetName = Literal["pipeline", "link", "onnx", "sentence_transformers"]
"""The Python snippets of a card, by the name of their template."""

SOURCE = "宋小宝小品《美人鱼》， [ENT_S] 大鹏 [ENT_E] 上演生死离别，关键时刻美人鱼登场"
CANDIDATES = (
    "董成鹏； 类型： Person； 别名： Da Peng， 大鹏;",
    "鲲鹏； 类型： VirtualThings； 别名： 大鹏; 庄子笔下的神鸟",
)
"""The example of the card and of the hub's widget."""

_MARKDOWN = re.compile(r"[\\`*\[\]|~$@]|(?<![^\W_])_|_(?![^\W_])|(?<=(?i:www))\.|:(?=//)")
_LINE_START = re.compile(r"^(?:(?=[-+=#:])|(\d+)(?=[.)](?:\s|$)))")
_HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def render_card(facts: CardFacts, language: str = "zh") -> str:
    """Write the card of a model.

    Args:
        facts: What is known of the model.
        language: ``zh`` or ``en``.

    Returns:
        The text of README.md, with the hub's metadata in front.

    Raises:
        InputError: If the language is another one.
    """
    check_choice("language", language, get_args(Language))
    card = _ENVIRONMENT.get_template(f"card.{language}.md.jinja").render(
        facts=facts,
        head=Markup(write_head(_metadata(facts, language))),
        snippets={name: Markup(code) for name, code in render_snippets(facts).items()},
        labels=TrainingSettings.card_labels(language) | MiningSettings.card_labels(language),
        candidates=CANDIDATES,
    )
    return card + "\n"


def render_snippets(facts: SnippetFacts) -> dict[SnippetName, str]:
    """The Python snippets that the card of a model has, each a program of its own.

    Args:
        facts: What they depend on.

    Returns:
        Their code by name, in the order of the card.
    """
    left_out = {"onnx": not facts.onnx, "sentence_transformers": not facts.sentence_transformers}
    return {
        name: _ENVIRONMENT.get_template(f"snippets/{name}.py.jinja").render(
            facts=facts, source=SOURCE, candidates=CANDIDATES
        )
        for name in get_args(SnippetName)
        if not left_out.get(name)
    }


def _metadata(facts: CardFacts, language: str) -> dict[str, Any]:
    tags = ["entity-linking", "entity-retrieval", "dual-encoder", facts.architecture]
    example = {
        "name": "example" if language == "en" else "示例",
        "inputs": [{"data": [SOURCE]}, {"data": list(CANDIDATES)}],
    }
    widget = {
        "task": "sentence-embedding",
        "inputs": [
            {"type": "text", "name": "source_sentence"},
            {"type": "text-list", "name": "sentences_to_compare"},
        ],
        "examples": [example],
    }
    return {
        "tasks": ["sentence-embedding"],
        "domain": ["nlp"],
        "frameworks": ["pytorch"],
        "language": ["zh"],
        "tags": tags + ["sentence-transformers"] * facts.sentence_transformers,
        "license": facts.license,
        "base_model": None if facts.base_model is None else [facts.base_model],
        "widgets": [widget],
    }


def escape_markdown(value: object) -> Markup:
    """A value as Markdown text of one line, wherever it stands: in a paragraph, a heading, a list or a table cell.

    It opens no code, emphasis, link, picture, HTML, table cell or block.
    """
    if isinstance(value, Markup):
        return value
    text = _MARKDOWN.sub(r"\\\g<0>", _one_line(value))
    text = "".join(_HTML.get(one, one) for one in text)
    return Markup(_LINE_START.sub(r"\1\\", text))


def escape_code(value: object) -> Markup:
    """A value as inline code in running text; see `escape_cell_code` for a table."""
    text = _one_line(value, strip=False)
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    padding = " " if "`" in (text[:1], text[-1:]) or text[:1] == text[-1:] == " " else ""
    return Markup(f"{fence}{padding}{text or ' '}{padding}{fence}")


def escape_cell_code(value: object) -> Markup:
    """A value as inline code in a table cell, which a vertical bar would end even there."""
    return Markup(str(escape_code(value)).replace("|", "\\|"))


def quote_python(value: str) -> Markup:
    """A text as a Python literal; JSON's form is one."""
    return Markup(json.dumps(_one_line(value, strip=False), ensure_ascii=False))


def quote_shell(value: str) -> Markup:
    """A text as one word of a shell command."""
    return Markup(shlex.quote(_one_line(value, strip=False)))


def _one_line(value: object, strip: bool = True) -> str:
    """A value as one line without control characters, formatting characters and separators other than a space."""
    text = "".join(" " if unicodedata.category(one)[0] in "CZ" else one for one in str(value))
    return " ".join(text.split()) if strip else text


def _make_environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("modelscope_plugin.publishing.card"),
        # Jinja leaves Markup alone and escapes all else; finalize escapes for Markdown before it does.
        autoescape=True,
        finalize=escape_markdown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "code": escape_code,
        "cell_code": escape_cell_code,
        "python": quote_python,
        "shell": quote_shell,
    }
    return environment


_ENVIRONMENT = _make_environment()
