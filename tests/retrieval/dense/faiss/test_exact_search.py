from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import faiss
import numpy as np
import numpy.typing as npt
import pytest

from modelscope_plugin.retrieval.dense.faiss.exact_search import search_exact
from modelscope_plugin.retrieval.dense.faiss.vector_matrix import VectorMatrix
from modelscope_plugin.types import Vectors


def vectors(rows: int, dimension: int = 8, seed: int = 0) -> Vectors:
    return np.random.default_rng(seed).normal(size=(rows, dimension)).astype(np.float32)


def matrix(rows: Vectors, precision: str = "float32") -> VectorMatrix:
    made = VectorMatrix(rows.shape[1], precision)
    made.add(rows)
    return made


def reference(queries: Vectors, rows: Vectors, k: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    scores = queries.astype(np.float64) @ rows.astype(np.float64).T
    order = np.argsort(-scores, axis=1)[:, :k]
    return np.take_along_axis(scores, order, axis=1), order


@pytest.fixture(params=[1, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(request.param)
    yield request.param
    faiss.omp_set_num_threads(before)


@pytest.mark.parametrize("queries", [1, 8, 9, 64, 65])
@pytest.mark.parametrize(("rows", "k"), [(100, 1), (100, 100), (5000, 30)])
def test_rows_and_scores_are_those_of_numpy(threads: int, queries: int, rows: int, k: int) -> None:
    known, asked = vectors(rows), vectors(queries, seed=1)
    scores, found = search_exact(asked, matrix(known), k)
    expected_scores, expected = reference(asked, known, k)
    assert (scores.dtype, found.dtype) == (np.dtype(np.float32), np.dtype(np.int64))
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(scores, expected_scores, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("queries", [1, 9])
def test_more_rows_than_a_thread_compares_are_found(threads: int, queries: int) -> None:
    known, asked = vectors(5000), vectors(queries, seed=1)
    scores, found = search_exact(asked, matrix(known), 4000)
    np.testing.assert_allclose(scores, reference(asked, known, 4000)[0], rtol=1e-4, atol=1e-5)
    assert [len(set(rows)) for rows in found.tolist()] == [4000] * queries


def test_rows_of_many_blocks_are_those_of_numpy() -> None:
    known, asked = vectors(10_000, 2), vectors(70, 2, seed=1)
    np.testing.assert_allclose(
        search_exact(asked, matrix(known), 20)[0], reference(asked, known, 20)[0], rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("queries", [1, 16])
def test_no_rows_are_found_where_none_are_wanted(queries: int) -> None:
    assert search_exact(vectors(queries), matrix(vectors(0)), 0)[1].shape == (queries, 0)


@pytest.mark.parametrize("queries", [1, 16])
def test_a_read_only_matrix_is_searched(queries: int) -> None:
    rows = vectors(5)
    rows.flags.writeable = False
    assert search_exact(vectors(queries), matrix(rows), 5)[1].shape == (queries, 5)


def test_threads_that_search_at_once_leave_the_settings_of_faiss_alone() -> None:
    settings = ("distance_compute_blas_threshold", "distance_compute_blas_database_bs")
    before = [getattr(faiss.cvar, name) for name in settings]
    known = matrix(vectors(3000))
    batches = [vectors(size, seed=size) for size in (1, 16, 70, 1, 16, 70)]
    seen = []

    def search(batch: Vectors) -> npt.NDArray[np.int64]:
        rows = search_exact(batch, known, 10)[1]
        seen.append([getattr(faiss.cvar, name) for name in settings])
        return rows

    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(search, batches))
    for batch, rows in zip(batches, together, strict=True):
        np.testing.assert_array_equal(rows, search_exact(batch, known, 10)[1])
    assert seen == [before] * len(batches)
