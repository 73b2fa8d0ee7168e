from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ENTITIES, MENTIONS
from hypothesis import given
from hypothesis import strategies as st

from modelscope_plugin.config.configuration import default_configuration
from modelscope_plugin.config.training_settings import MiningSettings
from modelscope_plugin.data import Entity, Mention, read_mentions
from modelscope_plugin.encoding import EntityEncoder
from modelscope_plugin.errors import IndexMismatchError, InputError
from modelscope_plugin.retrieval import EntityIndex
from modelscope_plugin.retrieval.building import build_index
from modelscope_plugin.training.hard_negative_mining import MiningResult, mine_negatives, write_negatives


def _mine(encoder: EntityEncoder, index: EntityIndex, mentions: list[Mention], **changes: Any) -> MiningResult:
    changes = {"sampling_strategy": "top"} | changes
    settings = MiningSettings.from_configuration(default_configuration(), **changes)
    return mine_negatives(encoder, index, mentions, settings)


def _ranked(encoder: EntityEncoder, mention: Mention) -> list[str]:
    """All entities that are no gold, best first, computed plainly."""
    scores = encoder.encode_document(ENTITIES) @ encoder.encode_query([mention])[0]
    order = sorted(range(len(ENTITIES)), key=lambda row: (-scores[row], ENTITIES[row].id))
    return [ENTITIES[row].id for row in order if ENTITIES[row].id not in mention.entity_ids]


@given(low=st.integers(0, 4), width=st.integers(1, 5), number=st.integers(1, 6))
def test_top_negatives_are_those_of_a_plain_ranking(
    encoder: EntityEncoder, index_folder: Path, low: int, width: int, number: int
) -> None:
    mined = _mine(
        encoder, EntityIndex.load(index_folder), MENTIONS, range_min=low, range_max=low + width, num_negatives=number
    )
    for mention, filled in zip(MENTIONS, mined.mentions, strict=True):
        expected = _ranked(encoder, mention)[low : low + width][:number]
        assert list(filled.negatives) == expected


def test_no_gold_entity_is_ever_a_negative(encoder: EntityEncoder, index: EntityIndex) -> None:
    several = Mention("苹果", 0, 2, ("apple-inc", "apple-fruit", "apple-film", "Q404"))
    mined = _mine(encoder, index, [several], num_negatives=6)
    assert set(mined.mentions[0].negatives) == {"dapeng", "roc", "river"}
    assert [one.rank for one in mined.found[0]] == [1, 2, 3]


def test_random_negatives_lie_in_the_range_and_depend_on_the_seed(encoder: EntityEncoder, index: EntityIndex) -> None:
    options: dict[str, Any] = {"sampling_strategy": "random", "num_negatives": 2, "range_min": 1, "range_max": 4}
    one, again, other = (_mine(encoder, index, MENTIONS * 4, seed=seed, **options) for seed in (1, 1, 2))
    assert one.mentions == again.mentions
    assert one.mentions != other.mentions
    for mention in one.mentions:
        assert set(mention.negatives) < set(_ranked(encoder, mention)[1:4])


def test_margin_leaves_out_what_is_too_near_to_the_gold(encoder: EntityEncoder, index: EntityIndex) -> None:
    everything = _mine(encoder, index, MENTIONS)
    margins = [
        gold - one.score for chosen, gold in zip(everything.found, everything.gold_scores, strict=True)
        for one in chosen
    ]  # fmt: skip
    margin = max(0.0, float(np.median(margins)))
    mined = _mine(encoder, index, MENTIONS, absolute_margin=margin)
    kept = [gold - one.score for chosen, gold in zip(mined.found, mined.gold_scores, strict=True) for one in chosen]
    assert sorted(kept) == sorted(value for value in margins if value >= margin)
    assert 0 < len(kept) < len(margins)


def test_namesakes_come_before_all_others(encoder: EntityEncoder, index: EntityIndex) -> None:
    mined = _mine(encoder, index, MENTIONS, name_negatives=2, num_negatives=2, range_max=1)
    negatives = {mention.entity_ids[0]: set(mention.negatives) for mention in mined.mentions}
    assert negatives["apple-inc"] == {"apple-fruit", "apple-film"}
    assert mined.report.by_name == 8
    assert [one.by_name for one in mined.found[0]] == [True, True]
    # 大鹏 is an alias of the one and the name of the other.
    assert "roc" in negatives["dapeng"]
    assert "dapeng" in negatives["roc"]


def test_margin_is_for_namesakes_too(encoder: EntityEncoder, index: EntityIndex) -> None:
    mined = _mine(encoder, index, MENTIONS, name_negatives=2, absolute_margin=0.0)
    assert all(one.score <= gold for chosen, gold in zip(mined.found, mined.gold_scores, strict=True) for one in chosen)


def test_entity_with_the_text_of_a_gold_is_no_negative(encoder: EntityEncoder) -> None:
    doubled = build_index(encoder, [*ENTITIES, replace(ENTITIES[5], id="double")])
    mined = _mine(encoder, doubled, MENTIONS[5:])
    assert len(mined.mentions[0].negatives) == 5
    assert "double" not in mined.mentions[0].negatives
    assert [one.rank for one in mined.found[0]] == [1, 2, 3, 4, 5]
    named = _mine(encoder, doubled, MENTIONS[5:], name_negatives=2)
    assert "double" not in named.mentions[0].negatives


def test_double_whose_vector_differs_in_its_last_digits_is_no_negative(encoder: EntityEncoder) -> None:
    entities = [*ENTITIES, replace(ENTITIES[5], id="double")]
    vectors = encoder.encode_document(entities)
    vectors[6] *= 1 + 1e-6
    index = EntityIndex(encoder.dimension, encoder.fingerprint)
    index.add(entities, vectors)
    assert "double" not in _mine(encoder, index, MENTIONS[5:]).mentions[0].negatives


def test_negatives_of_the_data_stay_before_those_found(
    encoder: EntityEncoder, index: EntityIndex, tmp_path: Path
) -> None:
    own = replace(MENTIONS[0], negatives=("river", "Q404"))
    mined = _mine(encoder, index, [own], num_negatives=5)
    assert mined.mentions[0].negatives[:2] == ("river", "Q404")
    assert set(mined.mentions[0].negatives[2:]) == {"apple-fruit", "apple-film", "dapeng", "roc"}
    write_negatives(tmp_path / "negatives.jsonl", mined, index)
    (read,) = read_mentions(tmp_path / "negatives.jsonl")
    assert set(read.negatives) == set(mined.mentions[0].negatives)


def test_report_counts_what_was_found(encoder: EntityEncoder, index: EntityIndex) -> None:
    several = replace(MENTIONS[0], entity_ids=("apple-inc", "apple-fruit", "apple-film", "river"))
    mined = _mine(encoder, index, [several, *MENTIONS[1:3], Mention("大鹏", 0, 2)], num_negatives=4)
    assert mined.report.mentions == 3
    assert mined.positions == [0, 1, 2]
    assert mined.report.mentions_by_negatives == {2: 1, 4: 2}
    assert mined.report.negatives == 10
    margins = [g - one.score for chosen, g in zip(mined.found, mined.gold_scores, strict=True) for one in chosen]
    assert mined.report.mean_margin == pytest.approx(np.mean(margins))


def test_written_file_is_read_as_training_mentions(encoder: EntityEncoder, index: EntityIndex, tmp_path: Path) -> None:
    mined = _mine(encoder, index, MENTIONS, num_negatives=3)
    write_negatives(tmp_path / "negatives.jsonl", mined, index)
    assert list(read_mentions(tmp_path / "negatives.jsonl")) == mined.mentions
    first = (tmp_path / "negatives.jsonl").read_text(encoding="utf-8").splitlines()[0]
    assert all(word in first for word in ('"mention": "苹果"', '"name": ', '"score": ', '"rank": 1', '"gold_score": '))


def test_index_of_another_model_raises(encoder: EntityEncoder) -> None:
    with pytest.raises(IndexMismatchError):
        _mine(encoder, EntityIndex(64, "other"), MENTIONS)


def test_mentions_of_another_knowledge_base_raise(encoder: EntityEncoder) -> None:
    other = build_index(encoder, [Entity("other", "别的")])
    with pytest.raises(InputError, match="none of the 6 mentions has a gold entity in the index"):
        _mine(encoder, other, MENTIONS)


def test_an_approximate_index_is_mined_exactly(encoder: EntityEncoder) -> None:
    others = [Entity(f"x{number}", f"条目{number}") for number in range(1100)]
    exact, approximate = (build_index(encoder, [*ENTITIES, *others]) for _ in range(2))
    tuning = approximate.tune(encoder.encode_query(MENTIONS), search="approximate")
    assert tuning.kind != "exact"
    options = {"range_max": 20, "num_negatives": 5}
    mined = [_mine(encoder, index, MENTIONS, **options) for index in (exact, approximate)]
    assert mined[0] == mined[1]
