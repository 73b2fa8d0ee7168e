from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from modelscope_plugin.data import Entity, Mention
from modelscope_plugin.data.views import ViewSettings
from modelscope_plugin.errors import IndexFolderError, InputError
from modelscope_plugin.retrieval import EntityIndex, Fitted, Fusion, Retriever
from modelscope_plugin.retrieval.dense.faiss import search_choice
from modelscope_plugin.retrieval.dense.faiss.store import FaissStore
from modelscope_plugin.retrieval.dense.store import VectorStore
from modelscope_plugin.types import Vectors

ENTITIES, DIMENSION, VIEWS = 900, 16, ViewSettings(max_views=6)


def _vectors(rows: int, seed: int) -> Vectors:
    """Rows around 60 centres."""
    centers = np.random.default_rng(99).normal(size=(60, DIMENSION))
    draw = np.random.default_rng(seed)
    return (centers[draw.integers(0, 60, rows)] + 0.3 * draw.normal(size=(rows, DIMENSION))).astype(np.float32)


def _add(index: EntityIndex, count: int, seed: int) -> None:
    """Entities with 1 to 6 views each, of all kinds."""
    counts = np.random.default_rng(seed).integers(1, 7, count)
    owners = np.repeat(np.arange(count), counts)
    places = np.stack([owners, np.zeros_like(owners), np.zeros_like(owners)], axis=1).astype(np.int32)
    entities = [Entity(f"{seed}-{number:04}", f"名字{number}") for number in range(count)]
    index.add(entities, _vectors(len(owners), seed), places)


def _tuned(search: str = "approximate", precision: str = "float32") -> EntityIndex:
    index = EntityIndex(DIMENSION, "指纹", views=VIEWS)
    _add(index, ENTITIES, 1)
    index.tune(_vectors(60, 5), search=search, precision=precision)
    return index


def _best(index: EntityIndex, query: Vectors) -> Vectors:
    """The score of every entity, plainly."""
    scores = index.vectors.astype(np.float64) @ query
    owners = np.repeat(np.arange(len(index)), index._parts.views.counts(len(index)))
    best = np.full(len(index), -np.inf)
    np.maximum.at(best, owners, scores)
    return best.astype(np.float32)


@pytest.mark.parametrize("precision", ["float32", "float16", "int8"])
@pytest.mark.parametrize("k", [1, 16, 128, ENTITIES, 2 * ENTITIES])
def test_approximate_search_of_views_gives_k_distinct_entities_with_the_scores_of_their_best_views(
    k: int, precision: str
) -> None:
    index, queries = _tuned(precision=precision), _vectors(10, 6)
    assert index.tuning.kind.startswith("IVF")
    scores, rows = index.search_rows(queries, k)
    assert rows.shape == (10, min(k, ENTITIES))
    for query, found_scores, found in zip(queries, scores, rows, strict=True):
        assert len(set(found.tolist())) == len(found)
        np.testing.assert_array_equal(found_scores, index.scores(query, found))
        np.testing.assert_allclose(found_scores, _best(index, query)[found], rtol=1e-5, atol=1e-6)
        assert (np.diff(found_scores) <= 0).all()


def test_approximate_search_of_views_finds_nearly_all_that_exact_search_does() -> None:
    index, queries = _tuned(), _vectors(50, 6)
    exact, found = index.search_rows(queries, 16, exact=True)[1], index.search_rows(queries, 16)[1]
    for query, rows in zip(queries, exact, strict=True):
        np.testing.assert_array_equal(np.sort(rows), np.sort(np.argsort(-_best(index, query), kind="stable")[:16]))
    hits = [len(set(one) & set(other)) for one, other in zip(exact.tolist(), found.tolist(), strict=True)]
    assert sum(hits) / (16 * len(queries)) > 0.95


def test_recall_of_views_is_measured_on_entities() -> None:
    index, queries = _tuned(), _vectors(60, 5)[1::2]
    exact, found = index.search_rows(queries, 128, exact=True)[1], index.search_rows(queries, 128)[1]
    hits = [len(set(one) & set(other)) for one, other in zip(exact.tolist(), found.tolist(), strict=True)]
    assert index.tuning.queries == 30
    assert index.tuning.recall[128] == pytest.approx(sum(hits) / (128 * 30))


def test_auto_is_exact_where_an_approximate_search_misses_the_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_choice, "AUTO_ENTITIES", ENTITIES)
    assert _tuned("auto").tuning.kind.startswith("IVF")
    monkeypatch.setattr(search_choice, "RECALL_TARGETS", {16: 1.01})
    assert _tuned("approximate").tuning.kind.startswith("IVF")
    missed = _tuned("auto")
    assert missed.tuning == search_choice.Tuning()


def test_one_entity_with_most_of_the_views_leaves_room_for_the_others() -> None:
    index = EntityIndex(DIMENSION, "指纹", views=VIEWS)
    owners = np.sort(np.r_[np.zeros(3000, int), np.arange(1, 41)])
    vectors = np.concatenate([_vectors(1, 3) + 0.01 * _vectors(3000, 1), -_vectors(40, 2)]).astype(np.float32)
    places = np.stack([owners, 0 * owners, 0 * owners], axis=1).astype(np.int32)
    index.add([Entity(f"{number:02}", "名") for number in range(41)], vectors, places)
    index.tune(_vectors(20, 5), search="approximate")
    _, rows = index.search_rows(_vectors(1, 3), 20)
    assert (rows[0, 0], len(set(rows[0].tolist()))) == (0, 20)


def test_changed_views_are_searched_and_renewed() -> None:
    index, queries = _tuned(), _vectors(10, 6)
    gone = {index.ids[row] for row in np.unique(index.search_rows(queries, 5)[1])}
    index.remove(gone)
    _add(index, 300, 2)
    assert index.changed > 0.2
    for _ in range(2):
        scores, rows = index.search_rows(queries, 20)
        assert not gone & {index.ids[row] for row in rows.ravel()}
        expected = [_best(index, query)[found] for query, found in zip(queries, rows, strict=True)]
        np.testing.assert_allclose(scores, expected, rtol=1e-5)
        index.renew()
    assert (index.changed, index.tuning.trained) == (0.0, len(index.vectors))


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_hybrid_retrieval_on_an_approximate_index_uses_exact_scores_and_brings_names_in(precision: str) -> None:
    index, queries = _tuned(precision=precision), _vectors(5, 6)
    names = [f"名字{number}" for number in (3, 80, 500, 700, 899)]
    for query, name, ranking in zip(queries, names, Retriever(index, "hybrid").rank(queries, names, 30), strict=True):
        assert index[int(ranking.rows[0])].name == name
        assert len(set(ranking.rows.tolist())) == 30
        np.testing.assert_array_equal(ranking.dense, index.scores(query, ranking.rows))


def test_retriever_searches_exactly_where_it_is_told_to() -> None:
    index, queries = _tuned(), _vectors(20, 6)
    rankings = Retriever(index, exact=True).rank(queries, [""] * 20, 50)
    found = np.stack([ranking.rows for ranking in rankings])
    np.testing.assert_array_equal(found, index.search_rows(queries, 50, exact=True)[1])


def test_names_views_fitted_and_search_stand_side_by_side_in_a_folder(tmp_path: Path) -> None:
    index, queries = _tuned(precision="int8"), _vectors(5, 6)
    index.fitted = Fitted(Fusion("weighted_sum"))
    index.lexicon.learn([Mention("甲", 0, 1, entity_ids=("1-0003",))])
    index.save(tmp_path / "kb")
    manifest = json.loads((tmp_path / "kb" / "manifest.json").read_text(encoding="utf-8"))
    assert (manifest["version"], manifest["search"], manifest["fitted"]) == (
        2,
        index.tuning.to_record(),
        index.fitted.to_record(),
    )
    assert {"views.npy", "names.safetensors", "learned.safetensors", "search.faiss"} <= set(manifest["files"])
    opened = EntityIndex.load(tmp_path / "kb", verify=True)
    assert (opened.tuning, opened.fitted, opened.view_settings) == (index.tuning, index.fitted, VIEWS)
    found, again = (Retriever(one, "hybrid").search(queries, ["甲"] * 5, 12) for one in (index, opened))
    assert found == again
    opened.fitted = Fitted()
    opened.save_fitted(tmp_path / "kb")
    assert EntityIndex.load(tmp_path / "kb").tuning == index.tuning


def test_folder_of_version_1_opens_and_is_searched_exactly(tmp_path: Path) -> None:
    index = EntityIndex(DIMENSION, "指纹")
    index.add([Entity("甲", "甲"), Entity("乙", "乙")], _vectors(2, 1))
    index.save(tmp_path / "kb")
    path = tmp_path / "kb" / "manifest.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    del values["search"], values["fitted"], values["files"]["names.safetensors"]
    path.write_text(json.dumps({**values, "version": 1}), encoding="utf-8")
    opened = EntityIndex.load(tmp_path / "kb")
    assert str(opened.tuning) == "search exact; float32"
    assert opened.search(_vectors(1, 2), 2) == index.search(_vectors(1, 2), 2)


def test_search_entry_that_is_none_is_refused(tmp_path: Path) -> None:
    _tuned().save(tmp_path / "kb")
    path = tmp_path / "kb" / "manifest.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    for search in ("exact", {"kind": "exact"}, {**values["search"], "precision": "int4"}):
        path.write_text(json.dumps({**values, "search": search}), encoding="utf-8")
        with pytest.raises(IndexFolderError, match="build the index again"):
            EntityIndex.load(tmp_path / "kb")


def test_vectors_that_are_no_longer_whole_are_not_tuned_again() -> None:
    index = _tuned(precision="float16")
    with pytest.raises(InputError, match=r"no longer whole.*build the index again"):
        index.tune(_vectors(60, 5))


def test_vectors_that_cannot_be_stored_leave_the_index_as_it_was() -> None:
    index = EntityIndex(2, "指纹")
    index.add([Entity("甲", "甲"), Entity("乙", "乙")], np.float32([[1, 2], [3, 4]]))
    index.tune(np.float32([[1, 0], [0, 1]]), precision="float16")
    with pytest.raises(InputError, match="too large for float16"):
        index.add([Entity("甲", "别名")], np.float32([[1e30, 0]]))
    assert [entity.name for entity in index] == ["甲", "乙"]
    np.testing.assert_array_equal(index.vectors, [[1, 2], [3, 4]])


def _store(ids: list[str], vectors: list[list[float]]) -> FaissStore:
    store: VectorStore = FaissStore(len(vectors[0]))
    store.add(ids, np.float32(vectors))
    assert isinstance(store, FaissStore)
    return store


def test_store_finds_entities_by_their_best_vector_and_orders_ties_by_id() -> None:
    store = _store(["b", "b", "a", "c", "c"], [[1, 0], [3, 0], [3, 0], [0, 1], [2, 0]])
    scores, ids = store.search(np.float32([[1, 0], [0, 1]]), 3)
    assert ids == [["a", "b", "c"], ["c", "a", "b"]]
    assert scores.tolist() == [[3, 3, 2], [1, 0, 0]]
    assert store.scores(np.float32([1, 0]), ["c", "b"]).tolist() == [2, 3]
    assert [store.best_vector(np.float32([1, 0]), one) for one in ("a", "b", "c")] == [0, 1, 1]


def test_store_replaces_and_removes_entities_with_all_their_vectors() -> None:
    store = _store(["b", "b", "a", "c"], [[1, 0], [3, 0], [3, 0], [0, 1]])
    store.add(["d", "b"], np.float32([[9, 0], [2, 0]]))
    store.remove(["a"])
    assert (len(store), store.vectors.tolist()) == (3, [[0, 1], [9, 0], [2, 0]])
    assert store.search(np.float32([[1, 0]]), 3)[1] == [["d", "b", "c"]]


def test_store_refuses_vectors_of_one_entity_that_do_not_follow_each_other() -> None:
    store = _store(["a"], [[1.0]])
    with pytest.raises(InputError, match="must follow each other"):
        store.add(["b", "c", "b"], np.float32([[1], [2], [3]]))
    assert store.vectors.tolist() == [[1]]


def test_index_and_store_share_one_table_of_ids() -> None:
    index = EntityIndex(1, "指纹")
    index.add([Entity("a", "甲"), Entity("b", "乙")], np.float32([[1], [2]]))
    index.add([Entity("a", "甲"), Entity("c", "丙")], np.float32([[3], [4]]))
    index.remove(["b"])
    assert index.knowledge_base.id_table is index._parts.store._search.ids  # type: ignore[attr-defined]
