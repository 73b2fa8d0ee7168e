"""The score of an entity as the sum over its views."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from conftest import ENTITIES, MENTIONS
from hypothesis import given
from hypothesis import strategies as st

from modelscope_plugin.data import Entity
from modelscope_plugin.data.views import ViewSettings
from modelscope_plugin.encoding import EntityEncoder
from modelscope_plugin.retrieval import EntityIndex
from modelscope_plugin.retrieval.building import build_index
from modelscope_plugin.retrieval.dense.faiss import entity_search
from modelscope_plugin.types import Vectors

DIMENSION = 8
TEMPERATURES = st.sampled_from([1e-6, 0.05, 0.3, 1.0, 20.0])


def _settings(temperature: float) -> ViewSettings:
    return ViewSettings(max_views=6, view_scores="sum", temperature=temperature)


def _index(counts: list[int], temperature: float, seed: int = 0) -> EntityIndex:
    """Entities of so many views each, drawn around a few centres; ids are not in the order of the rows."""
    draw = np.random.default_rng(seed)
    owners = np.repeat(np.arange(len(counts)), counts)
    vectors = draw.normal(size=(9, DIMENSION))[draw.integers(0, 9, len(owners))]
    vectors = (vectors + 0.5 * draw.normal(size=vectors.shape)).astype(np.float32)
    views = np.stack([owners, np.zeros_like(owners), np.zeros_like(owners)], axis=1).astype(np.int32)
    index = EntityIndex(DIMENSION, "指纹", views=_settings(temperature))
    index.add([Entity(f"{one:04}", "名") for one in draw.permutation(len(counts))], vectors, views)
    return index


def _queries(count: int, seed: int = 1) -> Vectors:
    return np.random.default_rng(seed).normal(size=(count, DIMENSION)).astype(np.float32)


def _sum_plainly(index: EntityIndex, query: Vectors, counts: list[int], temperature: float) -> np.ndarray:
    """The softmax over all views, summed over those of each entity, as logarithms."""
    logits = index.vectors.astype(np.float64) @ query.astype(np.float64) / temperature
    ends = np.cumsum(counts)
    total = np.logaddexp.reduce(logits)
    return np.array([np.logaddexp.reduce(logits[end - n : end]) for end, n in zip(ends, counts, strict=True)]) - total


@given(st.lists(st.integers(1, 6), min_size=1, max_size=60), TEMPERATURES, st.integers(1, 70), st.integers(0, 9))
def test_exact_search_orders_entities_by_the_softmax_summed_over_their_views(
    counts: list[int], temperature: float, k: int, seed: int
) -> None:
    index, query = _index(counts, temperature, seed), _queries(1, seed + 1)
    scores, rows = index.search_rows(query, k)
    expected = temperature * _sum_plainly(index, query[0], counts, temperature)
    # The denominator is the same for all, and left out of the score.
    np.testing.assert_allclose(scores[0] - scores[0, 0], expected[rows[0]] - expected.max(), rtol=1e-3, atol=1e-4)
    assert len(set(rows[0].tolist())) == min(k, len(counts))
    left = np.delete(expected, rows[0])
    assert not len(left) or left.max() <= expected[rows[0]].min() + 1e-4


@pytest.mark.parametrize("temperature", [0.05, 1.0])
def test_score_does_not_depend_on_how_many_are_asked_for(temperature: float) -> None:
    counts = np.random.default_rng(3).integers(1, 7, 2000).tolist()
    index, queries = _index(counts, temperature), _queries(5)
    scores, rows = index.search_rows(queries, 500)
    for k in (1, 16, 100):
        np.testing.assert_array_equal(index.search_rows(queries, k)[1], rows[:, :k])
        np.testing.assert_array_equal(index.search_rows(queries, k)[0], scores[:, :k])
    for query, found_scores, found in zip(queries, scores, rows, strict=True):
        np.testing.assert_array_equal(index.scores(query, found), found_scores)


def test_many_good_views_stand_above_one_that_is_a_little_better() -> None:
    vectors = np.float32([[1, 0], [0, 1], [0.9, 0], [0.9, 0]])
    views = np.int32([[0, 0, 0], [0, 0, 1], [1, 0, 0], [1, 0, 1]])
    found = {}
    for settings in (ViewSettings(2), ViewSettings(2, view_scores="sum", temperature=0.5)):
        index = EntityIndex(2, "指纹", views=settings)
        index.add([Entity("one", "一"), Entity("two", "二")], vectors, views)
        found[settings.view_scores] = [one.id for one in index.search(np.float32([[1, 0]]), 2)[0]]
    assert found == {"max": ["one", "two"], "sum": ["two", "one"]}


def test_equal_sums_are_ordered_by_id() -> None:
    index = EntityIndex(2, "指纹", views=_settings(1.0))
    vectors = np.float32([[1, 0], [0, 1]] * 3)
    index.add([Entity(one, one) for one in "cab"], vectors, np.int32([[one, 0, 0] for one in (0, 0, 1, 1, 2, 2)]))
    assert [one.id for one in index.search(np.float32([[1, 0]]), 3)[0]] == ["a", "b", "c"]


def test_low_temperature_is_the_nearest_view() -> None:
    counts = [1 + one % 5 for one in range(200)]
    summed, queries = _index(counts, 1e-9), _queries(4)
    best = EntityIndex(DIMENSION, "指纹", views=ViewSettings(6))
    best.add(list(summed), summed.vectors, summed._parts.views._views)
    np.testing.assert_array_equal(summed.search_rows(queries, 20)[1], best.search_rows(queries, 20)[1])


@pytest.mark.parametrize("temperature", [0.05, 1.0])
def test_approximate_search_gives_the_scores_of_exact_search_and_misses_little(temperature: float) -> None:
    counts = np.random.default_rng(4).integers(1, 7, 900).tolist()
    index, queries = _index(counts, temperature), _queries(20)
    index.tune(_queries(60, 5), search="approximate")
    assert index.tuning.kind.startswith("IVF")
    exact, (scores, rows) = index.search_rows(queries, 16, exact=True)[1], index.search_rows(queries, 16)
    for query, found_scores, found in zip(queries, scores, rows, strict=True):
        np.testing.assert_array_equal(index.scores(query, found), found_scores)
        assert (np.diff(found_scores) <= 0).all()
    shared = [len({*one} & {*other}) for one, other in zip(exact.tolist(), rows.tolist(), strict=True)]
    assert sum(shared) / (16 * len(queries)) > 0.95


def test_queries_searched_a_few_at_a_time_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    index, queries = _index([1 + one % 4 for one in range(300)], 1.0), _queries(7)
    scores, rows = index.search_rows(queries, 9)
    monkeypatch.setattr(entity_search, "_FOUND", 2 * len(index.vectors))
    few_scores, few_rows = index.search_rows(queries, 9)
    np.testing.assert_array_equal(few_rows, rows)
    np.testing.assert_allclose(few_scores, scores, rtol=1e-6)


def test_scores_of_any_size_stay_finite() -> None:
    index = EntityIndex(2, "指纹", views=_settings(0.05))
    views = np.int32([[0, 0, 0], [0, 0, 1], [1, 0, 0]])
    index.add([Entity("a", "一"), Entity("b", "二")], np.float32([[1e30, 0], [-1e30, 0], [0, 1]]), views)
    scores, rows = index.search_rows(np.float32([[1e30, 0]]), 2)
    assert np.isfinite(scores).all()
    assert rows.tolist() == [[0, 1]]


def test_threads_get_what_one_gets() -> None:
    index, queries = _index([1 + one % 5 for one in range(500)], 0.3), _queries(40)
    alone = [index.search(queries[one : one + 1], 9) for one in range(40)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda one: index.search(queries[one : one + 1], 9), range(40))) == alone


def test_built_index_keeps_how_views_are_scored(encoder: EntityEncoder, tmp_path: Path) -> None:
    settings = ViewSettings(4, view_scores="sum", temperature=0.2)
    index = build_index(encoder, ENTITIES, views=settings)
    index.save(tmp_path / "kb")
    loaded, queries = EntityIndex.load(tmp_path / "kb", verify=True), encoder.encode_query(MENTIONS)
    assert loaded.view_settings == settings
    assert loaded.search(queries, 6) == index.search(queries, 6)
    assert loaded.search(queries, 6) != build_index(encoder, ENTITIES, views=ViewSettings(4)).search(queries, 6)


def test_index_from_before_there_was_a_choice_takes_the_nearest_view(encoder: EntityEncoder, tmp_path: Path) -> None:
    index, folder = build_index(encoder, ENTITIES, views=ViewSettings(3, 1, 0.5)), tmp_path / "kb"
    index.save(folder)
    old = json.dumps({"max_views": 3, "merge_rounds": 1, "merge_share": 0.5}) + "\n"
    assert (folder / "views.json").read_text(encoding="utf-8") == old
    loaded, queries = EntityIndex.load(folder, verify=True), encoder.encode_query(MENTIONS)
    assert loaded.view_settings == ViewSettings(3, 1, 0.5)
    assert loaded.search(queries, 6) == index.search(queries, 6)


def test_temperature_tells_settings_apart_only_where_it_is_used() -> None:
    assert ViewSettings(4, temperature=0.05) == ViewSettings(4)
    assert _settings(0.05) != _settings(1.0)
