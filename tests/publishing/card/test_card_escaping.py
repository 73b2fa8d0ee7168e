"""Texts of others in a card: whatever they hold, the card keeps its structure, and its code is ours."""

from __future__ import annotations

import ast
import re
import shlex
from dataclasses import replace
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from test_model_card import UNTRAINED, _record

from modelscope_plugin.publishing.card.facts import CardFacts
from modelscope_plugin.publishing.card.metadata import parse_card
from modelscope_plugin.publishing.card.render import escape_code, escape_markdown, render_card, render_snippets

ATTACKS = (
    *("```python\nimport os\n```", "\n\n```py\nraise SystemExit\n```\n", "~~~python\nx\n~~~", "`", "``", "`` ` ``"),
    *("x |\n| --- |", "a | b", "\\|", "\n# Heading\n", "Heading\n===", "\n---\n", "---\nlicense: none\n---", "> quote"),
    *("- item", "+ item", "1. one", "1) one", "    code", "\tcode", ": definition", "*a*", "__a__", "_a_", "~~a~~"),
    *("<img src=x onerror=alert(1)>", "<!--", "</td></tr>", "&lt;", "&#96;", "<http://a>", "$a$", "\\", "\\`"),
    *("[a](http://b)", "![a](b)", "[a]: http://b", "https://example.org", "www.example.org", "me@example.org"),
    *("\u202eevil", "\u2066", "\x1b[31m", "\x00", "\x07", "\r", "\u2028", "\u2029", "\x85", "\ud800", "\u3000", " "),
    *("{{ 7 * 7 }}", "{% raw %}", "{% endraw %}", "{# x #}", "${x}", "$(touch x)", "'; touch x #", '"""', "\\\n"),
    *("<script>alert(1)</script>", "<details>", "</code>", "javascript:alert(1)", "&#x3c;b&#x3e;", "&colon;", "$$x$$"),
    *(
        "``` {.python}",
        "````python\nx\n````",
        "\n\n\n    x = 1\n\n",
        "::: note",
        "[^1]: x",
        "[x]: <a> 'b'",
        "@user",
        "#1",
    ),
    *(
        "!!python/object/apply:os.system [x]",
        "\n...\n",
        "key: value",
        "- [ ] x",
        "\ufeff",
        "\u200b",
        "\u2028```\u2029",
        "\x9b2J",
    ),
)
TEXTS = st.one_of(
    st.lists(st.sampled_from(ATTACKS), max_size=4).map("".join),
    st.text(st.sampled_from("`|~#*_-+=<>[]()!&:\\\n\r\t a1.@$"), max_size=30),
    st.text(max_size=30),
)
LINES = TEXTS.map(lambda text: "".join(one if one.isprintable() else " " for one in text).strip()).filter(bool)
CODE = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def structure(card: str) -> list[Any]:
    """The blocks and inline parts of a card below its head, without the text in them; links and HTML included."""
    parser = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    found: list[Any] = []
    for token in parser.parse(parse_card(card)[1]):
        found.append((token.type, token.tag, token.info))
        # A text is one part, however often it was escaped.
        inline = [child.type for child in token.children or () if child.type not in ("text", "text_special")]
        found.append(inline)
    return found


def check_same(card: str, harmless: str, facts: CardFacts) -> None:
    assert structure(card) == structure(harmless)
    assert parse_card(card)[0].keys() == parse_card(harmless)[0].keys()
    assert [code[:-1] for code in CODE.findall(card)] == list(render_snippets(facts).values())
    assert all(character.isprintable() or character in "\n\u3000" for character in card.split("\n---\n", 1)[1])
    for line in card.splitlines():
        if line.startswith("|"):
            assert line.endswith("|")


@pytest.mark.parametrize("language", ["zh", "en"])
@settings(max_examples=20)
@given(mention=TEXTS.filter(bool), entity=TEXTS.filter(bool))
def test_prefixes_of_a_model_stay_code(language: str, mention: str, entity: str) -> None:
    harmless = replace(UNTRAINED, mention_prefix="q", entity_prefix="d")
    facts = replace(UNTRAINED, mention_prefix=mention, entity_prefix=entity)
    check_same(render_card(facts, language), render_card(harmless, language), facts)


@pytest.mark.parametrize("language", ["zh", "en"])
@settings(max_examples=20)
@given(text=TEXTS.filter(bool))
def test_texts_of_a_training_record_stay_text(language: str, text: str) -> None:
    """Even those that the schema would refuse."""

    def record(value: Any) -> dict[str, Any]:
        changed = {"lr_scheduler_type": value, "mixed_precision": value, "batch_size": value, "seed": value}
        record = _record(versions={"torch": value, value: "1"}, base_model=value, processes=value)
        record["settings"] |= changed
        record["data"]["train"] |= {"mentions": value, "entities": value}
        record["evaluation"] |= {"retrieval": value or "x", "entities": value, "mentions": value}
        return record

    facts = replace(UNTRAINED, training=record(text))
    check_same(render_card(facts, language), render_card(replace(UNTRAINED, training=record("x")), language), facts)


@pytest.mark.parametrize("language", ["zh", "en"])
@settings(max_examples=20)
@given(name=LINES, license=LINES, architecture=TEXTS)
def test_name_and_licence_stay_text(language: str, name: str, license: str, architecture: str) -> None:
    facts = replace(UNTRAINED, name=name, license=license, architecture=architecture)
    card = render_card(facts, language)
    check_same(card, render_card(replace(facts, name="x", license="mit", architecture="bert"), language), facts)
    assert parse_card(card)[0]["license"] == license


@pytest.mark.parametrize("text", ATTACKS)
def test_text_opens_no_block(text: str) -> None:
    tokens = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).parse(escape_markdown(text))
    assert [token.type for token in tokens] in ([], ["paragraph_open", "inline", "paragraph_close"])


@given(name=LINES)
def test_name_is_one_word_of_a_command_and_one_literal_of_a_snippet(name: str) -> None:
    facts = replace(UNTRAINED, name=name)
    command = next(line for line in render_card(facts).splitlines() if line.startswith("modelscope entity index"))
    assert shlex.split(command, posix=True) == [
        *("modelscope", "entity", "index", "kb.jsonl", "--model", name, "--out", "INDEX")
    ]
    for code in render_snippets(facts).values():
        literals = [node.value for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Constant)]
        harmless = ast.parse(render_snippets(replace(facts, name="x"))["pipeline"])
        assert name in literals
        assert len(list(ast.walk(ast.parse(render_snippets(facts)["pipeline"])))) == len(list(ast.walk(harmless)))


@given(text=LINES)
def test_escaped_text_reads_as_it_was(text: str) -> None:
    tokens = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).parse(escape_markdown(text))
    shown = "".join(child.content for token in tokens for child in token.children or ())
    assert shown == " ".join(text.split())


@given(text=TEXTS.filter(lambda text: text.isprintable() and text.strip()))
def test_code_reads_as_it_was(text: str) -> None:
    (paragraph,) = [token for token in MarkdownIt().parse(f"x {escape_code(text)}") if token.type == "inline"]
    (code,) = [child for child in paragraph.children or () if child.type == "code_inline"]
    assert code.content == text


def test_plain_texts_are_not_escaped() -> None:
    for text in ("owner/my_model-2.0", "apache-2.0", "2.13.0+cpu", "中文 模型", "0.002", "3e-05", "(c) 2024"):
        assert str(escape_markdown(text)) == text


def test_head_is_yaml_whatever_the_licence() -> None:
    card = render_card(replace(UNTRAINED, license="mit\u00a0'\": [x] #"))
    assert yaml.safe_load(card.split("---\n")[1])["license"] == "mit\u00a0'\": [x] #"
