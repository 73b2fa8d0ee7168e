import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from modelscope_plugin.data.records import Entity
from modelscope_plugin.errors import IndexFolderError, InputError
from modelscope_plugin.retrieval.dense.faiss.approximate_index import ApproximateIndex
from modelscope_plugin.retrieval.dense.faiss.exact_search import search_exact
from modelscope_plugin.retrieval.dense.faiss.search_choice import (
    AUTO_ENTITIES,
    approximate_kind,
    choose_kind,
    recall_at,
)
from modelscope_plugin.retrieval.dense.faiss.vector_matrix import VectorMatrix
from modelscope_plugin.retrieval.entity_index import EntityIndex
from modelscope_plugin.types import Vectors

ROWS, DIMENSION = 3000, 16
KIND = "IVF64,PQ8x4fs"


def clustered(rows: int, seed: int = 0) -> Vectors:
    """Rows around 60 centres."""
    centers = np.random.default_rng(99).normal(size=(60, DIMENSION))
    draw = np.random.default_rng(seed)
    return (centers[draw.integers(0, 60, rows)] + 0.3 * draw.normal(size=(rows, DIMENSION))).astype(np.float32)


def entity(number: int) -> Entity:
    return Entity(f"{number:05}", f"名{number}")


def stored_of(vectors: Vectors, precision: str = "float32") -> VectorMatrix:
    stored = VectorMatrix(DIMENSION, precision)
    stored.add(vectors)
    return stored


def trained(precision: str = "float32", effort: int = 48) -> ApproximateIndex:
    index = ApproximateIndex.train(stored_of(clustered(ROWS), precision), KIND)
    index.effort = effort
    return index


def tuned_index(**options: object) -> EntityIndex:
    index = EntityIndex(DIMENSION, "指纹")
    index.add([entity(number) for number in range(ROWS)], clustered(ROWS))
    index.tune(clustered(600, seed=5), **{"search": "approximate", **options})  # type: ignore[arg-type]
    return index


@pytest.mark.parametrize("precision", ["float32", "float16", "int8"])
def test_it_finds_distinct_rows_with_true_scores_best_first(precision: str) -> None:
    index, queries = trained(precision), clustered(20, seed=1)
    scores, rows = index.search(queries, 30)
    assert all(len(set(row)) == 30 for row in rows.tolist())
    assert (np.diff(scores, axis=1) <= 0).all()
    expected = np.stack([index.vectors[row] @ query for row, query in zip(rows, queries, strict=True)])
    np.testing.assert_allclose(scores, expected, rtol=1e-3, atol=1e-3)


def test_it_finds_most_of_the_exact_list() -> None:
    index, queries = trained(), clustered(50, seed=1)
    truth = np.argsort(-(queries @ index.vectors[:].T), axis=1)
    assert recall_at(index.search(queries, 16)[1], truth, 16) > 0.95


def test_it_is_the_same_when_made_and_asked_again() -> None:
    queries = clustered(10, seed=1)
    one, other = trained(), trained()
    np.testing.assert_array_equal(one.search(queries, 20)[1], one.search(queries, 20)[1])
    np.testing.assert_array_equal(one.search(queries, 20)[1], other.search(queries, 20)[1])


def test_it_never_gives_removed_rows_again() -> None:
    index, queries = trained(), clustered(10, seed=1)
    gone = np.unique(index.search(queries, 50)[1])
    kept = np.delete(clustered(ROWS), gone, axis=0)
    index.remove(gone)
    scores, rows = index.search(queries, 20)
    assert len(index) == len(kept)
    expected = np.stack([kept[row] @ query for row, query in zip(rows, queries, strict=True)])
    np.testing.assert_allclose(scores, expected, rtol=1e-4)


def test_it_finds_rows_added_after_loading(tmp_path: Path) -> None:
    made = trained()
    files = [*made.save(tmp_path), *made.vectors.save(tmp_path)]
    assert sorted(files) == sorted(os.listdir(tmp_path))
    index = ApproximateIndex.load(tmp_path, VectorMatrix.load(tmp_path, "float32", ROWS, DIMENSION))
    np.testing.assert_array_equal(index.search(clustered(5), 9)[1], made.search(clustered(5), 9)[1])
    new = 3 * clustered(40, seed=7)
    index.add(new)
    index.remove(np.array([0, 5, ROWS]))
    _, rows = index.search(new[1:], 1)
    found = index.vectors[rows[:, 0]]
    assert (np.einsum("nd,nd->n", found, new[1:]) >= np.einsum("nd,nd->n", new[1:], new[1:]) * 0.999).all()


def test_a_query_with_too_few_candidates_is_answered_exactly() -> None:
    index, query = trained(effort=1), clustered(1, seed=1)
    near = search_exact(query, index.vectors, 2000)[1][0]
    index.remove(np.sort(near))
    scores, rows = index.search(query, 100)
    np.testing.assert_array_equal(rows, search_exact(query, index.vectors, 100)[1])
    np.testing.assert_array_equal(scores[0], index.vectors.scores(query[0], rows[0]))


@pytest.mark.parametrize("k", [10, ROWS // 4, ROWS])
def test_scores_are_those_of_single_rows_however_many_are_wanted(k: int) -> None:
    index, queries = trained(), clustered(40, seed=1)
    scores, rows = index.search(queries, k)
    for query, found_scores, found in zip(queries, scores, rows, strict=True):
        np.testing.assert_array_equal(found_scores, index.vectors.scores(query, found))


@pytest.mark.parametrize("kind", ["IVF64,PQ8x4fs", "IVF64,Flat", "PCA8,IVF64,SQ8", "HNSW16,SQ8", "PCA8,HNSW16,PQ4x4"])
def test_kinds_with_lists_or_a_graph_are_searched_saved_and_changed(kind: str, tmp_path: Path) -> None:
    made = ApproximateIndex.train(stored_of(clustered(ROWS)), kind)
    made.effort = 48
    queries = clustered(50, seed=1)
    truth = np.argsort(-(queries @ made.vectors[:].T), axis=1)
    found = made.search(queries, 16)[1]
    assert recall_at(found, truth, 16) > 0.9
    made.save(tmp_path), made.vectors.save(tmp_path)
    opened = ApproximateIndex.load(tmp_path, VectorMatrix.load(tmp_path, "float32", ROWS, DIMENSION))
    assert opened.effort == 48
    np.testing.assert_array_equal(opened.search(queries, 16)[1], found)
    new = 3 * clustered(1, seed=7)
    opened.add(new)
    opened.remove(np.array([0]))
    assert opened.search(new, 1)[1] == [[ROWS - 1]]
    assert opened.effort == 48


@pytest.mark.parametrize(
    "kind",
    [
        *("Nonsense", "Flat", "PQ4", "IVF5000,Flat", "IVF0,Flat", "IVF16,PQ7", "HNSW0", "HNSW1", "HNSW10000000"),
        *("IDMap,HNSW16,Flat", "IDMap2,IVF16,Flat"),
    ],
)
def test_a_kind_that_faiss_cannot_make_is_named(kind: str) -> None:
    with pytest.raises(InputError, match=f"index of kind '{kind}' of .*16 dimensions"):
        ApproximateIndex.train(stored_of(clustered(ROWS)), kind)


def test_auto_is_exact_below_its_size_and_approximate_from_there() -> None:
    size = AUTO_ENTITIES
    assert choose_kind("auto", size - 1, 8 * size, 768) == "exact"
    assert choose_kind("auto", size, size, 768) == choose_kind("approximate", size, size, 768) != "exact"
    assert choose_kind("exact", size, size, 768) == "exact"


@pytest.mark.parametrize("search", ["Flat", "", "faiss", "IVF", "ivf16,Flat"])
def test_a_search_that_is_not_offered_is_refused(search: str) -> None:
    with pytest.raises(InputError, match=f"search='{search}' is none of exact, approximate, auto, nor a kind"):
        tuned_index(search=search)


@pytest.mark.parametrize("dimension", [1, 7, 15, 64, 130, 768])
def test_the_kind_chosen_can_be_made_for_any_dimension(dimension: int) -> None:
    stored = VectorMatrix(dimension)
    stored.add(np.random.default_rng(0).normal(size=(2000, dimension)).astype(np.float32))
    index = ApproximateIndex.train(stored, approximate_kind(2000, dimension))
    assert index.search(stored[:2], 3)[1].shape == (2, 3)


def test_tune_measures_recall_and_reaches_the_targets() -> None:
    tuning = tuned_index().tuning
    assert (tuning.kind, tuning.queries, tuning.trained) == (KIND, 300, ROWS)
    assert (tuning.recall[16] > 0.97, tuning.recall[128] > 0.95, tuning.effort >= 8) == (True, True, True)


def test_tune_measures_what_precision_and_truncation_cost() -> None:
    whole, cut = tuned_index(search="exact", precision="int8"), tuned_index(search="exact", truncate_dim=4)
    assert 0.9 < whole.tuning.recall[16] < 1
    assert 0.05 < cut.tuning.recall[16] < 0.9
    assert (cut.vectors.shape, whole.vectors.shape) == ((ROWS, 4), (ROWS, DIMENSION))


def test_tune_to_exact_float32_changes_nothing() -> None:
    index, queries = tuned_index(search="auto"), clustered(5, seed=2)
    assert (str(index.tuning), index.changed, index.renew()) == ("search exact; float32", 0.0, None)
    np.testing.assert_array_equal(index.vectors, clustered(ROWS))
    assert index.search(queries, 5) == index.search(queries, 5, exact=True)


def test_exact_search_of_an_approximate_index_is_exact() -> None:
    index, queries = tuned_index(), clustered(5, seed=2)
    truth = np.argsort(-(queries.astype(np.float64) @ clustered(ROWS).T), axis=1)[:, :20]
    np.testing.assert_array_equal(index.search_rows(queries, 20, exact=True)[1], truth)


@pytest.mark.parametrize("truncate_dim", [0, -1, 17])
def test_tune_refuses_dimensions_that_are_not_there(truncate_dim: int) -> None:
    with pytest.raises(InputError, match=f"truncate_dim={truncate_dim} is not between 1 and the 16"):
        tuned_index(truncate_dim=truncate_dim)


def test_tune_refuses_to_measure_on_one_query() -> None:
    index = EntityIndex(DIMENSION, "指纹")
    index.add([entity(0)], clustered(1))
    with pytest.raises(InputError, match=r"at least 2 mentions .*--queries"):
        index.tune(clustered(1), precision="int8")


def test_ties_are_ordered_by_id_in_an_approximate_index() -> None:
    index = EntityIndex(DIMENSION, "指纹")
    vectors = clustered(ROWS)
    vectors[100:140] = vectors[7]
    index.add([entity(ROWS - number) for number in range(ROWS)], vectors)
    index.tune(clustered(50, seed=5), search="approximate", precision="int8")
    for candidates in index.search(vectors[7:8] * 2, 60):
        keys = [(-candidate.score, candidate.id) for candidate in candidates]
        assert keys == sorted(keys)


@pytest.mark.parametrize("options", [{}, {"precision": "int8"}, {"truncate_dim": 8}])
def test_saved_and_opened_index_searches_the_same_from_a_read_only_folder(
    tmp_path: Path, options: dict[str, object]
) -> None:
    index, queries = tuned_index(**options), clustered(7, seed=3)
    index.save(tmp_path / "kb")
    for path in [*(tmp_path / "kb").iterdir(), tmp_path / "kb"]:
        path.chmod(0o555)
    opened = EntityIndex.load(tmp_path / "kb", verify=True)
    (tmp_path / "kb").chmod(0o755)
    assert opened.tuning == index.tuning
    assert opened.search(queries, 12) == index.search(queries, 12)
    assert opened.search(queries, 12, exact=True) == index.search(queries, 12, exact=True)


def test_opened_index_is_changed_and_survives_the_loss_of_its_folder(tmp_path: Path) -> None:
    tuned_index(precision="int8").save(tmp_path / "kb")
    index = EntityIndex.load(tmp_path / "kb")
    shutil.rmtree(tmp_path / "kb")
    new = 3 * clustered(30, seed=8)
    index.add([entity(ROWS + number) for number in range(30)], new)
    index.remove(["00000", "00001", f"{ROWS:05}"])
    index.save(tmp_path / "other")
    again = EntityIndex.load(tmp_path / "other")
    assert again.search(new[1:], 3) == index.search(new[1:], 3)
    removed = {"00000", "00001", f"{ROWS:05}"}
    assert not removed & {one.id for row in again.search(clustered(2), 400) for one in row}
    assert again.changed == pytest.approx(33 / ROWS)


def test_much_changed_index_is_renewed_with_the_queries_it_was_measured_on(tmp_path: Path) -> None:
    index = tuned_index(search="approximate")
    assert (index.tuning.kind, index.renew()) == (approximate_kind(ROWS, DIMENSION), None)
    index.save(tmp_path / "kb")
    index = EntityIndex.load(tmp_path / "kb")
    index.add([entity(ROWS + number) for number in range(2 * ROWS)], clustered(2 * ROWS, seed=8))
    renewed = index.renew()
    assert renewed is not None
    assert (renewed.kind, renewed.trained, index.changed) == (approximate_kind(3 * ROWS, DIMENSION), 3 * ROWS, 0.0)
    assert renewed.recall[16] > 0.97


@pytest.mark.parametrize("search", ["approximate", "IVF64,Flat", "HNSW16,SQ8"])
@pytest.mark.parametrize("kept", [0, 10])
def test_index_that_lost_nearly_everything_is_exact_again(search: str, kept: int) -> None:
    index = tuned_index(search=search)
    index.remove([f"{number:05}" for number in range(kept, ROWS)])
    renewed = index.renew()
    assert (renewed is not None and renewed.kind, len(index.search(clustered(1), 20)[0])) == ("exact", kept)


def test_kind_asked_for_is_kept_while_it_can_be_made() -> None:
    index = tuned_index(search="IVF1500,Flat")
    index.remove([f"{number:05}" for number in range(2000, ROWS)])
    first = index.renew()
    assert first is not None
    assert (first.kind, first.search) == ("IVF1500,Flat", "IVF1500,Flat")
    assert "of the exact list of what is stored" in str(first)
    index.remove([f"{number:05}" for number in range(1200, 2000)])
    second = index.renew()
    assert second is not None
    assert (second.kind, second.search) == (approximate_kind(1200, DIMENSION), "IVF1500,Flat")


def test_kind_that_cannot_find_enough_is_said_and_takes_no_more_effort_than_it_gains_by(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tuning = tuned_index(search="HNSW16,PQ1x4").tuning
    assert tuning.recall[16] < 0.9
    assert tuning.effort < ROWS
    assert "short of the recall wanted" in caplog.text


def test_vectors_too_large_to_be_compared_are_refused() -> None:
    with pytest.raises(InputError, match="search exactly"):
        ApproximateIndex.train(stored_of(1e25 * clustered(ROWS)), KIND)


@pytest.mark.parametrize("name", ["search.faiss", "search_rows.npy", "queries.npy", "scales.npz"])
def test_damaged_file_is_named(tmp_path: Path, name: str) -> None:
    tuned_index(precision="int8").save(tmp_path / "kb")
    data = bytearray((tmp_path / "kb" / name).read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "kb" / name).write_bytes(data)
    with pytest.raises(IndexFolderError, match=f"{name} is damaged"):
        EntityIndex.load(tmp_path / "kb")
    (tmp_path / "kb" / name).unlink()
    with pytest.raises(IndexFolderError, match=f"{name} is missing"):
        EntityIndex.load(tmp_path / "kb")
