from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

import pytest
import yaml

from modelscope_plugin.config.configuration import default_configuration
from modelscope_plugin.config.training_settings import read_training_settings
from modelscope_plugin.errors import InputError
from modelscope_plugin.publishing.card.facts import CardFacts
from modelscope_plugin.publishing.card.metadata import parse_card
from modelscope_plugin.publishing.card.render import render_card, render_snippets

UNTRAINED = CardFacts(
    name="owner/demo",
    license="apache-2.0",
    architecture="bert",
    layers=2,
    parameters=121216,
    dimension=64,
    max_length=96,
    emb_pooler_type="cls",
    normalize=False,
    towers=1,
    mention_prefix="",
    entity_prefix="",
    has_markers=True,
    sentence_transformers=True,
    standalone=False,
    onnx=False,
    indexed=0,
    views=1,
    training=None,
    measured=None,
)


def _stage(stage: int, **changes: Any) -> dict[str, Any]:
    return {"stage": stage, "losses": [1.5, 1.25], "steps": 40, "mining": None, "evaluation": None} | changes


def _record(**changes: Any) -> dict[str, Any]:
    settings, mining = read_training_settings(default_configuration(), stages=2, learning_rate=3e-5, batch_size=17)
    evaluation = {"recall@1": 0.5, "recall@16": 0.875, "mrr": 0.6, "mentions": 8, "entities": 321, "nil_mentions": 3}
    evaluation |= {"unseen_mentions": 4, "unseen_recall@1": 0.25, "unseen_recall@16": 0.75}
    mined = {"mentions": 11, "negatives": 99}
    return {
        "settings": asdict(settings),
        "mining": asdict(mining),
        "data": {
            "knowledge_base": {"count": 321, "checksum": "a"},
            "train": {
                "count": 12,
                "checksum": "b",
                "mentions": 11,
                "entities": 7,
                "nil": 1,
                "unlabelled": 0,
                "unknown": 0,
            },
            "eval": {"count": 11, "checksum": "c"},
        },
        "processes": 2,
        "versions": {"torch": "2.13.0"},
        "stage": 2,
        "collapsed": False,
        "evaluation": evaluation,
        "stages": [_stage(1), _stage(2, mining=mined, evaluation=evaluation)],
    } | changes


def _front_matter(card: str) -> dict[str, Any]:
    start, front, _ = card.split("---\n", 2)
    assert start == ""
    value = yaml.safe_load(front)
    assert isinstance(value, dict)
    assert value == parse_card(card)[0]
    return value


@pytest.mark.parametrize("language", ["zh", "en"])
@pytest.mark.parametrize("training", [None, _record()])
def test_front_matter_is_what_the_hub_reads(language: str, training: dict[str, Any] | None) -> None:
    front = _front_matter(render_card(replace(UNTRAINED, training=training), language))
    assert front["tasks"] == ["sentence-embedding"]
    assert (front["frameworks"], front["language"], front["domain"]) == (["pytorch"], ["zh"], ["nlp"])
    assert front["license"] == "apache-2.0"
    widget = front["widgets"][0]
    assert [field["name"] for field in widget["inputs"]] == ["source_sentence", "sentences_to_compare"]
    source, candidates = (given["data"] for given in widget["examples"][0]["inputs"])
    assert "[ENT_S] 大鹏 [ENT_E]" in source[0]
    assert len(candidates) == 2
    assert "base_model" not in front


def test_front_matter_takes_any_licence() -> None:
    terms = 'CC: "by" # 4'
    assert _front_matter(render_card(replace(UNTRAINED, license=terms)))["license"] == terms


@pytest.mark.parametrize("language", ["zh", "en"])
def test_base_model_is_named_where_it_is_known(language: str) -> None:
    card = render_card(replace(UNTRAINED, training=_record(base_model="owner/bert")), language)
    assert _front_matter(card)["base_model"] == ["owner/bert"]
    assert "`owner/bert`" in card


@pytest.mark.parametrize("language", ["zh", "en"])
def test_figures_are_those_of_the_record(language: str) -> None:
    card = render_card(replace(UNTRAINED, training=_record()), language)
    assert "| Recall@1 | Recall@16 |" in card
    assert "| 8 | 50.0 | 87.5 |" in card
    assert "| 4 | 25.0 | 75.0 |" in card
    assert "MRR@16 60.0" in card
    assert "3 NIL" in card
    assert "| `batch_size` | 17 |" in card
    assert "3e-05" in card
    assert "1.500 → 1.250" in card
    for count in ("| 321 |", "| 11 |", "| 7 |"):
        assert count in card
    assert "99" in card
    assert "torch 2.13.0" in card


@pytest.mark.parametrize("language", ["zh", "en"])
@pytest.mark.parametrize("training", [None, _record(evaluation=None)])
def test_there_is_no_figure_that_was_not_measured(language: str, training: dict[str, Any] | None) -> None:
    card = render_card(replace(UNTRAINED, training=training), language)
    assert "Recall@" not in card
    assert "MRR" not in card
    assert {"zh": "没有记录评测结果", "en": "No evaluation is recorded"}[language] in card


def test_card_says_what_makes_the_figures_doubtful() -> None:
    data = _record()["data"]
    data["eval"]["checksum"] = data["train"]["checksum"]
    card = render_card(replace(UNTRAINED, training=_record(data=data, collapsed=True)), "en")
    assert "The dev set is the training set" in card
    assert "has not learned anything" in card
    assert "not test results" in card
    one = _record(stages=[_stage(1)], stage=1)
    assert "not test results" not in render_card(replace(UNTRAINED, training=one), "en")


def test_languages_have_the_same_code_and_structure() -> None:
    facts = replace(UNTRAINED, training=_record(), towers=2, normalize=True, mention_prefix="查询：")
    chinese, english = (render_card(facts, language) for language in ("zh", "en"))
    for mark in ("\n## ", "\n| ", "\n- ", "\n```"):
        assert chinese.count(mark) == english.count(mark)
    assert [part for part in chinese.split("```")[1::2] if part.startswith("python")] == [
        part for part in english.split("```")[1::2] if part.startswith("python")
    ]


def test_english_card_has_no_chinese_prose() -> None:
    card = render_card(replace(UNTRAINED, training=_record(), mention_prefix="q:"), "en")
    prose = "".join(card.split("```")[0::2]).split("---\n", 2)[2]
    assert "。" not in prose
    assert "模型" not in prose.replace("BERT 实体向量-中文-通用领域-base", "")


@pytest.mark.parametrize("language", ["zh", "en"])
def test_shortest_card_is_long_enough_for_the_hub(language: str) -> None:
    assert len(render_card(replace(UNTRAINED, sentence_transformers=False), language)) > 1000


def test_card_of_a_model_that_sentence_transformers_cannot_open() -> None:
    card = render_card(replace(UNTRAINED, sentence_transformers=False, mention_prefix="query"), "en")
    assert "SentenceTransformer(" not in card
    assert "would give other vectors" in card
    assert "sentence-transformers" not in _front_matter(card)["tags"]
    assert "`query`" in card


def test_markers_that_the_vocabulary_lacks_are_mentioned() -> None:
    assert "word pieces" in render_card(replace(UNTRAINED, has_markers=False), "en")
    assert "word pieces" not in render_card(UNTRAINED, "en")


def test_hub_id_is_downloaded_for_sentence_transformers() -> None:
    assert 'snapshot_download("owner/demo")' in render_card(UNTRAINED)
    assert "snapshot_download" not in render_card(replace(UNTRAINED, name="demo"))


def test_name_with_a_space_is_quoted_in_commands() -> None:
    card = render_card(replace(UNTRAINED, name="我的 模型"))
    assert "--model '我的 模型' --out" in card
    assert f"model={json.dumps('我的 模型', ensure_ascii=False)})" in card


def test_unknown_language_is_refused() -> None:
    with pytest.raises(InputError, match="unknown language 'fr'; choose from zh, en"):
        render_card(UNTRAINED, "fr")


def test_card_indexes_a_model_that_was_trained_with_views_by_as_many() -> None:
    assert "ViewSettings" not in render_card(replace(UNTRAINED, training=_record()), "en")
    card = render_card(replace(UNTRAINED, training=_record(), views=6), "en")
    assert "import Entity, EntityEncoder, EntityLinker, Mention, ViewSettings, build_index" in card
    assert "build_index(encoder, entities, views=ViewSettings(6))" in card
    assert "vectors of an entity, at most" in card


@pytest.mark.parametrize("language", ["zh", "en"])
@pytest.mark.parametrize("standalone", [True, False])
def test_python_of_a_card_is_its_snippets(language: str, standalone: bool) -> None:
    facts = replace(UNTRAINED, standalone=standalone, onnx=True)
    card, snippets = render_card(facts, language), render_snippets(facts)
    assert list(snippets) == ["pipeline", "link", "onnx", "sentence_transformers"]
    blocks = [part.removeprefix("python\n") for part in card.split("```")[1::2] if part.startswith("python")]
    assert blocks == [f"{code}\n" for code in snippets.values()]
    for code in snippets.values():
        compile(code, "snippet", "exec")


def test_snippets_are_those_that_the_folder_supports() -> None:
    assert list(render_snippets(replace(UNTRAINED, sentence_transformers=False))) == ["pipeline", "link"]
