from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ENTITIES, MENTIONS
from hypothesis import given
from hypothesis import strategies as st

from modelscope_plugin.data import Entity, entity_text
from modelscope_plugin.data.views import ViewSettings, entity_views
from modelscope_plugin.encoding import EntityEncoder
from modelscope_plugin.errors import IndexFolderError, IndexMismatchError, InputError
from modelscope_plugin.retrieval import EntityIndex
from modelscope_plugin.retrieval.building import build_index
from modelscope_plugin.types import Vectors

VIEWS = ViewSettings(max_views=4)
# Small whole numbers, so that many scores are equal.
NUMBERS = st.lists(st.integers(-2, 2), min_size=3, max_size=3)
KNOWLEDGE_BASES = st.lists(st.lists(NUMBERS, min_size=1, max_size=6), max_size=25)


def _index(
    entities: list[list[list[int]]], ids: list[str] | None = None, settings: ViewSettings = VIEWS
) -> EntityIndex:
    index = EntityIndex(3, "指纹", views=settings)
    ids = ids or [f"{(7 * number) % 101:03}" for number in range(len(entities))]
    index.add([Entity(one, one) for one in ids], *_rows(entities))
    return index


def _rows(entities: list[list[list[int]]]) -> tuple[Vectors, Any]:
    vectors = [vector for views in entities for vector in views]
    places = [(place, number, number) for place, views in enumerate(entities) for number in range(len(views))]
    return np.array(vectors, np.float32).reshape(-1, 3), np.array(places, np.int32).reshape(-1, 3)


def _brute_force(index: EntityIndex, entities: list[list[list[int]]], query: list[int], k: int) -> Any:
    best = [max(float(np.dot(view, query)) for view in views) for views in entities]
    order = sorted(range(len(best)), key=lambda row: (-best[row], index.ids[row]))[:k]
    return [(index.ids[row], best[row]) for row in order]


@given(KNOWLEDGE_BASES, st.lists(NUMBERS, min_size=1, max_size=3), st.integers(1, 30))
def test_search_gives_distinct_entities_in_the_order_of_their_best_view(
    entities: list[list[list[int]]], queries: list[list[int]], k: int
) -> None:
    index = _index(entities)
    found = index.search(np.array(queries, np.float32), k)
    for query, candidates in zip(queries, found, strict=True):
        assert [(one.id, one.score) for one in candidates] == _brute_force(index, entities, query, k)
        assert [one.rank for one in candidates] == list(range(1, min(k, len(entities)) + 1))


@pytest.mark.parametrize("k", [1, 7, 50, 400])
def test_search_is_exact_on_many_views_of_any_number(k: int) -> None:
    random = np.random.default_rng(0)
    counts = random.integers(1, 40, 300)
    vectors = random.normal(size=(int(counts.sum()), 16)).astype(np.float32)
    owners = np.repeat(np.arange(300), counts)
    index = EntityIndex(16, "指纹", views=VIEWS)
    places = np.stack([owners, np.zeros_like(owners), np.zeros_like(owners)], axis=1).astype(np.int32)
    index.add([Entity(f"{one:03}", "名") for one in random.permutation(300)], vectors, places)
    queries = random.normal(size=(20, 16)).astype(np.float32)
    best = np.maximum.reduceat(queries.astype(np.float64) @ vectors.T, np.cumsum([0, *counts[:-1]]), axis=1)
    expected = [sorted(range(300), key=lambda row: (-scores[row], index.ids[row]))[:k] for scores in best]
    assert index.search_rows(queries, k)[1].tolist() == expected


def test_one_entity_with_all_the_nearest_views_leaves_room_for_the_others() -> None:
    entities = [[[9, number % 3, 0] for number in range(500)], *([[1, 0, -number]] for number in range(20))]
    found = _index(entities, ["all", *(f"{number:02}" for number in range(20))]).search(np.float32([[1, 0, 0.01]]), 8)
    assert [one.id for one in found[0]] == ["all", "00", "01", "02", "03", "04", "05", "06"]


def test_equal_best_views_are_ordered_by_id_and_the_first_view_wins() -> None:
    index = _index([[[0, 0, 0], [1, 0, 0]], [[1, 0, 0], [1, 0, 0]], [[1, 0, 0]]], ["c", "a", "b"])
    queries = np.float32([[1, 0, 0]])
    assert index.search_rows(queries, 3)[1].tolist() == [[1, 2, 0]]
    # The whole is the first view, and stands before another of the same score.
    assert [one.view for one in index.search(queries, 3)[0]] == ["a;", "b;", "c; "]


@given(st.lists(st.tuples(st.booleans(), st.sets(st.integers(0, 8)), st.integers(1, 4)), max_size=5))
def test_changes_equal_a_fresh_build(changes: list[tuple[bool, set[int], int]]) -> None:
    index, expected = EntityIndex(3, "指纹", views=VIEWS), dict[str, list[list[int]]]()
    for adding, numbers, count in changes:
        ids = sorted(map(str, numbers))
        if adding:
            made = [[[int(one), number, count] for number in range(1 + int(one) % count)] for one in ids]
            index.add([Entity(one, one) for one in ids], *_rows(made))
            expected |= dict(zip(ids, made, strict=True))
        else:
            index.remove(one for one in ids if one in expected)
            expected = {one: views for one, views in expected.items() if one not in ids}
    fresh = _index(list(expected.values()), list(expected))
    queries = np.float32([[1, 1, 1], [-1, 2, 0]])
    assert index.search(queries, 9) == fresh.search(queries, 9)


@given(KNOWLEDGE_BASES.filter(bool))
def test_scores_are_those_of_the_best_views(entities: list[list[list[int]]]) -> None:
    index, query = _index(entities), np.float32([1, -2, 3])
    rows = list(range(len(entities)))[::2]
    expected = [max(float(np.dot(view, query)) for view in entities[row]) for row in rows]
    assert index.scores(query, rows).tolist() == expected


def test_built_index_holds_every_view_and_says_which_won(encoder: EntityEncoder) -> None:
    index = build_index(encoder, ENTITIES, views=VIEWS)
    views = [entity_views(entity, 4) for entity in ENTITIES]
    assert len(index.vectors) == sum(map(len, views))
    for mention, candidates in zip(MENTIONS, index.search(encoder.encode_query(MENTIONS), 6), strict=True):
        query = encoder.encode_query([mention])[0]
        scores = [encoder.encode_document(texts) @ query for texts in views]
        order = sorted(range(6), key=lambda row: (-scores[row].max(), ENTITIES[row].id))
        assert [one.id for one in candidates] == [ENTITIES[row].id for row in order]
        assert [one.view for one in candidates] == [views[row][int(scores[row].argmax())] for row in order]


def test_merged_views_come_on_top_and_explain_the_link(encoder: EntityEncoder) -> None:
    entity = Entity("Q1", "名", (), (), "今天苹果。上演生死。大鹏很好。一飞九万里。")
    plain = build_index(encoder, [entity], views=ViewSettings(8))
    merged = build_index(encoder, [entity], views=ViewSettings(8, merge_rounds=3, merge_share=1.0))
    # Of the four sentences 1-2, 2-3 and 3-4, then 1-3 and 2-4, then all.
    assert (len(plain.vectors), len(merged.vectors)) == (5, 5 + 3 + 2 + 1)
    np.testing.assert_allclose(merged.vectors[:5], plain.vectors, atol=1e-6)
    texts = [merged._parts.views.text(entity, 0, row) for row in range(11)]
    assert texts[0] == entity_text(entity)
    assert texts[5:8] == ["名; 今天苹果。 上演生死。", "名; 上演生死。 大鹏很好。", "名; 大鹏很好。 一飞九万里。"]
    assert texts[10] == "名; 今天苹果。 上演生死。 大鹏很好。 一飞九万里。"
    np.testing.assert_allclose(merged.vectors, encoder.encode_document(texts), atol=1e-6)


def test_rounds_without_end_merge_until_nothing_is_left_to_merge(encoder: EntityEncoder) -> None:
    entities = [Entity("a", "名", (), (), "今天苹果。上演生死。大鹏很好。"), Entity("b", "名")]
    endless = build_index(encoder, entities, views=ViewSettings(8, 10**18, 1.0))
    assert endless.search(endless.vectors, 2) == build_index(encoder, entities, views=ViewSettings(8, 9, 1.0)).search(
        endless.vectors, 2
    )
    assert len(endless.vectors) == 4 + 3 + 1


def test_entities_without_text_have_one_view(encoder: EntityEncoder, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    index = build_index(encoder, [Entity("a", "名"), Entity("b", ""), ENTITIES[0]], views=ViewSettings(3, 1))
    assert len(index.vectors) == 1 + 1 + 2
    assert "2 of 3 entities have neither description nor facts" in caplog.text


def test_endless_description_is_bounded_and_said(encoder: EntityEncoder, caplog: pytest.LogCaptureFixture) -> None:
    endless = Entity("a", "名", (), (), "今天苹果。" * 200_000)
    assert len(build_index(encoder, [endless], views=ViewSettings(4, 9, 1.0)).vectors) == 4 + 3
    assert "1 of 1 entities have more text than 4 views hold" in caplog.text


def test_load_gives_back_what_was_saved(encoder: EntityEncoder, tmp_path: Path) -> None:
    index = build_index(encoder, ENTITIES, views=ViewSettings(3, 1, 0.5))
    index.save(tmp_path / "kb")
    loaded = EntityIndex.load(tmp_path / "kb", verify=True)
    queries = encoder.encode_query(MENTIONS)
    assert loaded.view_settings == ViewSettings(3, 1, 0.5)
    assert loaded.search(queries, 4) == index.search(queries, 4)
    loaded.remove(["roc"])
    build_index(encoder, [replace(ENTITIES[0], description="水果。手机。")], index=loaded)
    loaded.save(tmp_path / "kb")
    again = EntityIndex.load(tmp_path / "kb")
    assert sorted(again.ids) == sorted(entity.id for entity in ENTITIES if entity.id != "roc")
    assert again.search(queries, 9) == loaded.search(queries, 9)


def test_index_of_one_view_is_the_same_on_disk(encoder: EntityEncoder, index_folder: Path, tmp_path: Path) -> None:
    build_index(encoder, ENTITIES, views=ViewSettings()).save(tmp_path / "kb")
    files = sorted(path.name for path in index_folder.iterdir())
    assert sorted(path.name for path in (tmp_path / "kb").iterdir()) == files
    for name in set(files) - {"manifest.json"}:
        assert (tmp_path / "kb" / name).read_bytes() == (index_folder / name).read_bytes()


@pytest.mark.parametrize("damage", ["missing", "table", "settings", "order"])
def test_damaged_views_are_refused(encoder: EntityEncoder, tmp_path: Path, damage: str) -> None:
    build_index(encoder, ENTITIES, views=VIEWS).save(tmp_path / "kb")
    table, settings = tmp_path / "kb" / "views.npy", tmp_path / "kb" / "views.json"
    if damage == "missing":
        table.unlink()
    elif damage == "table":
        np.save(table, np.load(table).astype(np.int64))
    elif damage == "settings":
        settings.write_text(json.dumps({"max_views": 0}), encoding="utf-8")
    else:
        np.save(table, np.load(table)[::-1])
    with pytest.raises(IndexFolderError, match="build the index again"):
        EntityIndex.load(tmp_path / "kb")


def test_views_of_another_kind_are_refused(encoder: EntityEncoder, index: EntityIndex) -> None:
    with pytest.raises(
        IndexMismatchError, match=r"the index has ViewSettings\(max_views=1.*not ViewSettings\(max_views=4"
    ):
        build_index(encoder, ENTITIES[:1], index=index, views=VIEWS)
    with pytest.raises(
        InputError, match="views are needed for an index of several vectors per entity, and for no other"
    ):
        _index([]).add([Entity("a", "名")], np.float32([[1, 2, 3]]))


@pytest.mark.parametrize("owners", [[0, 0], [1, 0], [0, 2], [0, 1, 2], []])
def test_add_refuses_views_that_are_not_those_of_the_entities(owners: list[int]) -> None:
    places = np.array([(one, 0, 0) for one in owners], np.int32).reshape(-1, 3)
    with pytest.raises(InputError, match="not those of 2 entities in order"):
        _index([]).add([Entity("a", "名"), Entity("b", "名")], np.ones((len(owners), 3), np.float32), places)
