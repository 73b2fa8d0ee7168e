"""Renders the model card and its Python snippets from the templates in ``templates/``.

Every value is escaped for its context. Markdown is the default, so that a template cannot forget it; the filters
``code`` and ``cell_code`` (inline code), ``python`` and ``shell`` (fenced code) escape for the other contexts.
"""

from __future__ import annotations

import html
import json
import re
import shlex
import unicodedata
from typing import Any, Literal, get_args

from huggingface_hub import ModelCardData
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from modelscope_plugin.checks import check_choice
from modelscope_plugin.config.training_settings import MiningSettings, TrainingSettings
from modelscope_plugin.publishing.card.facts import CardFacts, SnippetFacts

Language = Literal["zh", "en"]
"""The languages that a card can be written in."""

SnippetName = Literal["pipeline", "link", "onnx", "sentence_transformers"]
"""The Python snippets of a card, by the name of their template."""

SOURCE = "宋小宝小品《美人鱼》， [ENT_S] 大鹏 [ENT_E] 上演生死离别，关键时刻美人鱼登场"
CANDIDATES = (
    "董成鹏； 类型： Person； 别名： Da Peng， 大鹏;",
    "鲲鹏； 类型： VirtualThings； 别名： 大鹏; 庄子笔下的神鸟",
)
"""Example texts of the card and of the hub's widget."""

_MARKDOWN = re.compile(r"[\\`*\[\]|~$@]|(?<![^\W_])_|_(?![^\W_])|(?<=(?i:www))\.|:(?=//)")
_LINE_START = re.compile(r"^(?:(?=[-+=#:])|(\d+)(?=[.)](?:\s|$)))")


def render_card(facts: CardFacts, language: str = "zh") -> str:
    """Write the card of a model.

    Args:
        facts: What is known about the model.
        language: ``zh`` or ``en``.

    Returns:
        The text of README.md, with the hub's metadata in front.

    Raises:
        InputError: If the language is unknown.
    """
    check_choice("language", language, get_args(Language))
    card = _ENVIRONMENT.get_template(f"card.{language}.md.jinja").render(
        facts=facts,
        head=Markup(ModelCardData(**_metadata(facts, language)).to_yaml()),
        snippets={name: Markup(code) for name, code in render_snippets(facts).items()},
        labels=TrainingSettings.card_labels(language) | MiningSettings.card_labels(language),
        candidates=CANDIDATES,
    )
    return card + "\n"


def render_snippets(facts: SnippetFacts) -> dict[SnippetName, str]:
    """Render the Python snippets of a model's card, each a whole program.

    Args:
        facts: What they depend on.

    Returns:
        Their code by name, in the order of the card.
    """
    has_snippet = {"onnx": facts.onnx, "sentence_transformers": facts.sentence_transformers}
    return {
        name: _ENVIRONMENT.get_template(f"snippets/{name}.py.jinja").render(
            facts=facts, source=SOURCE, candidates=CANDIDATES
        )
        for name in get_args(SnippetName)
        if has_snippet.get(name, True)
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
    """Return a value as Markdown text of one line, for a paragraph, a heading, a list or a table cell.

    It starts no code, emphasis, link, picture, HTML, table cell or block.
    """
    if isinstance(value, Markup):
        return value
    text = html.escape(_MARKDOWN.sub(r"\\\g<0>", _one_line(value)), quote=False)
    return Markup(_LINE_START.sub(r"\1\\", text))


def escape_code(value: object) -> Markup:
    """Return a value as inline code in running text; see `escape_cell_code` for a table."""
    text = _one_line(value, strip=False)
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    padding = " " if "`" in (text[:1], text[-1:]) or text[:1] == text[-1:] == " " else ""
    return Markup(f"{fence}{padding}{text or ' '}{padding}{fence}")


def escape_cell_code(value: object) -> Markup:
    """Return a value as inline code in a table cell, where a vertical bar would end the cell."""
    return Markup(str(escape_code(value)).replace("|", "\\|"))


def quote_python(value: str) -> Markup:
    """Return a text as a Python literal, in JSON's form."""
    return Markup(json.dumps(_one_line(value, strip=False), ensure_ascii=False))


def quote_shell(value: str) -> Markup:
    """Return a text as one word of a shell command."""
    return Markup(shlex.quote(_one_line(value, strip=False)))


def _one_line(value: object, strip: bool = True) -> str:
    """Return a value as one line; control and formatting characters and separators become spaces."""
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
