from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelscope_plugin.errors import InputError
from modelscope_plugin.retrieval.dense.faiss.exact_search import search_exact
from modelscope_plugin.retrieval.dense.faiss.vector_matrix import PRECISIONS, SCALES_FILE, VectorMatrix
from modelscope_plugin.types import Vectors

# Largest error of a number beside the largest of its row, dimensions being alike.
ERROR = {"float32": 0.0, "float16": 1e-3, "int8": 0.02}


def normal(rows: int, dimension: int = 16, seed: int = 0) -> Vectors:
    return np.random.default_rng(seed).normal(size=(rows, dimension)).astype(np.float32)


def stored(vectors: Vectors, precision: str) -> VectorMatrix:
    made = VectorMatrix(vectors.shape[1], precision)
    made.add(vectors)
    return made


@pytest.mark.parametrize("precision", PRECISIONS)
def test_rows_come_back_within_the_error_of_their_precision(precision: str) -> None:
    vectors = normal(200)
    error = np.abs(stored(vectors, precision)[:] - vectors) / np.abs(vectors).max()
    assert error.max() <= ERROR[precision]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_scores_are_the_dot_products_of_the_rows_that_come_back(precision: str) -> None:
    made, query, rows = stored(normal(50), precision), normal(1, seed=1)[0], np.array([3, 0, 49])
    np.testing.assert_allclose(made.scores(query, rows), made[rows] @ query, rtol=1e-4, atol=1e-4)


def test_int8_keeps_small_dimensions_beside_a_large_one_and_rows_larger_than_the_first() -> None:
    vectors = normal(200) * np.array([1000, *[1] * 15], dtype=np.float32) + 7
    made = stored(vectors, "int8")
    later = vectors * 20
    made.add(later)
    assert np.abs(made[:200] - vectors)[:, 1:].max() < 0.05
    assert np.abs(made[200:] - later).max() <= 0.03 * np.abs(later).max()


@pytest.mark.parametrize("precision", PRECISIONS)
def test_constant_and_zero_vectors_come_back(precision: str) -> None:
    for vectors in (np.zeros((3, 4), np.float32), np.ones((3, 4), np.float32)):
        np.testing.assert_allclose(stored(vectors, precision)[:], vectors, atol=1e-6)


def test_float16_refuses_numbers_that_it_cannot_hold() -> None:
    with pytest.raises(InputError, match="too large for float16"):
        stored(np.full((1, 2), 1e6, np.float32), "float16")


def test_unknown_precision_names_those_there_are() -> None:
    with pytest.raises(InputError, match="unknown precision 'int4'; choose from float32, float16, int8"):
        VectorMatrix(4, "int4")


@pytest.mark.parametrize("precision", PRECISIONS)
@settings(deadline=None, max_examples=25)
@given(changes=st.lists(st.one_of(st.integers(1, 4), st.sets(st.integers(0, 5)).map(tuple)), max_size=5))
def test_changes_move_the_right_rows(precision: str, changes: list[int | tuple[int, ...]]) -> None:
    made, expected = stored(normal(6), precision), normal(6)
    for seed, change in enumerate(changes, 1):
        if isinstance(change, int):
            made.add(normal(change, seed=seed))
            expected = np.vstack([expected, normal(change, seed=seed)])
        else:
            gone = np.array([row for row in change if row < len(expected)], dtype=np.int64)
            made.remove(gone)
            expected = np.delete(expected, gone, axis=0)
    np.testing.assert_allclose(made[:], expected, atol=0.1)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_saved_vectors_open_memory_mapped_and_equal(tmp_path: Path, precision: str) -> None:
    made = stored(normal(30), precision)
    files = made.save(tmp_path)
    opened = VectorMatrix.load(tmp_path, precision, 30, 16)
    assert sorted(files) == sorted(path.name for path in tmp_path.iterdir())
    assert isinstance(opened.numbers.base, np.memmap)
    np.testing.assert_array_equal(opened[:], made[:])


@pytest.mark.parametrize(
    ("precision", "rows", "dimension"), [("int8", 30, 16), ("float32", 29, 16), ("float32", 30, 8)]
)
def test_opening_as_something_else_is_refused(tmp_path: Path, precision: str, rows: int, dimension: int) -> None:
    stored(normal(30), "float32").save(tmp_path)
    with pytest.raises(ValueError, match="is not an array of"):
        VectorMatrix.load(tmp_path, precision, rows, dimension)


def test_damaged_scales_are_named(tmp_path: Path) -> None:
    stored(normal(30), "int8").save(tmp_path)
    (tmp_path / SCALES_FILE).write_bytes(b"PK damaged")
    with pytest.raises(ValueError, match=SCALES_FILE):
        VectorMatrix.load(tmp_path, "int8", 30, 16)


@pytest.mark.parametrize("precision", ["float16", "int8"])
@pytest.mark.parametrize("k", [1, 40, 20_000])
def test_exact_search_of_every_precision_finds_the_rows_of_numpy(precision: str, k: int) -> None:
    # More rows than are turned into float32 at once.
    made, queries = stored(normal(20_000, 4), precision), normal(3, 4, seed=1)
    scores, rows = search_exact(queries, made, k)
    right = np.sort(queries @ made[:].T, axis=1)[:, ::-1][:, :k]
    np.testing.assert_allclose(scores, right, atol=1e-4)
    assert all(len(set(row)) == k for row in rows.tolist())


@pytest.mark.parametrize("queries", [1, 15, 16, 64])
def test_the_faster_way_of_a_batch_finds_the_same(queries: int) -> None:
    from faiss import cvar

    before = cvar.distance_compute_blas_threshold, cvar.distance_compute_blas_database_bs
    vectors, asked = normal(3000), normal(queries, seed=1)
    scores, rows = search_exact(asked, stored(vectors, "float32"), 10)
    np.testing.assert_array_equal(rows, np.argsort(-(asked @ vectors.T), axis=1, kind="stable")[:, :10])
    np.testing.assert_allclose(scores, np.take_along_axis(asked @ vectors.T, rows, axis=1), rtol=1e-4)
    assert (cvar.distance_compute_blas_threshold, cvar.distance_compute_blas_database_bs) == before


@pytest.mark.parametrize("precision", PRECISIONS)
def test_equal_vectors_have_equal_scores_wherever_they_stand(precision: str) -> None:
    draw = np.random.default_rng(3)
    vectors = draw.normal(size=(300, 20)).astype(np.float32)
    vectors[[7, 130, 299]] = vectors[0]
    stored = VectorMatrix(20, precision)
    stored.add(vectors)
    query = draw.normal(size=20).astype(np.float32)
    scores = stored.scores(query, np.arange(300))
    assert len(set(scores[[0, 7, 130, 299]].tolist())) == 1
    np.testing.assert_allclose(scores, stored[:].astype(np.float64) @ query, rtol=1e-4, atol=1e-5)
