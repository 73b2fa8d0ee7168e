import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelscope_plugin.retrieval.dense.faiss.stored_vectors import StoredVectors
from modelscope_plugin.retrieval.dense.faiss.vector_index import FlatIndex, VectorIndex
from modelscope_plugin.types import Vectors


def vectors(rows: int, dimension: int = 8, seed: int = 0) -> Vectors:
    return np.random.default_rng(seed).normal(size=(rows, dimension)).astype(np.float32)


def flat(rows: Vectors, precision: str = "float32") -> FlatIndex:
    stored = StoredVectors(rows.shape[1], precision)
    stored.add(rows)
    return FlatIndex(stored)


def reference(queries: Vectors, rows: Vectors, k: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    scores = queries.astype(np.float64) @ rows.astype(np.float64).T
    order = np.argsort(-scores, axis=1)[:, :k]
    return np.take_along_axis(scores, order, axis=1), order


def test_flat_index_is_a_vector_index() -> None:
    assert isinstance(flat(vectors(1)), VectorIndex)


@pytest.mark.parametrize("queries", [1, 7, 64])
@pytest.mark.parametrize("k", [1, 5, 100])
def test_flat_index_finds_the_rows_of_numpy(queries: int, k: int) -> None:
    rows, asked = vectors(100), vectors(queries, seed=1)
    assert flat(rows).search(asked, k)[1].tolist() == reference(asked, rows, k)[1].tolist()


def test_flat_index_gives_the_scores_of_numpy() -> None:
    rows, asked = vectors(100), vectors(7, seed=1)
    np.testing.assert_allclose(flat(rows).search(asked, 5)[0], reference(asked, rows, 5)[0], rtol=1e-5)


def test_flat_index_gives_float32_scores_and_int64_rows() -> None:
    scores, rows = flat(vectors(4)).search(vectors(1), 2)
    assert (scores.dtype, rows.dtype) == (np.dtype(np.float32), np.dtype(np.int64))


def test_flat_index_numbers_added_rows_behind_the_earlier_ones() -> None:
    index = flat(vectors(3))
    index.add(vectors(2, seed=1))
    index.add(vectors(1, seed=2))
    np.testing.assert_array_equal(index.stored[:], np.vstack([vectors(3), vectors(2, seed=1), vectors(1, seed=2)]))


def test_flat_index_finds_added_rows() -> None:
    index = flat(vectors(3))
    index.add(100 * vectors(1, seed=9))
    assert index.search(vectors(1, seed=9), 1)[1].tolist() == [[3]]


def test_flat_index_counts_its_rows() -> None:
    index = flat(np.empty((0, 8), dtype=np.float32))
    index.add(vectors(3))
    index.add(vectors(2))
    assert len(index) == 5


def test_flat_index_moves_rows_up_when_earlier_ones_are_removed() -> None:
    index = flat(vectors(5))
    index.remove(np.array([0, 3]))
    np.testing.assert_array_equal(index.stored[:], vectors(5)[[1, 2, 4]])


def test_flat_index_can_lose_all_rows() -> None:
    index = flat(vectors(2))
    index.remove(np.array([0, 1]))
    assert (len(index), index.stored[:].shape) == (0, (0, 8))


def test_flat_index_searches_a_read_only_matrix() -> None:
    rows = vectors(5)
    rows.flags.writeable = False
    assert flat(rows).search(rows[:1], 5)[1].shape == (1, 5)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.one_of(st.integers(1, 4), st.sets(st.integers(0, 5)).map(tuple)), max_size=6))
def test_flat_index_after_any_changes_holds_the_rows_of_numpy(changes: list[int | tuple[int, ...]]) -> None:
    index, expected = flat(vectors(2)), vectors(2)
    for seed, change in enumerate(changes):
        if isinstance(change, int):
            index.add(vectors(change, seed=seed))
            expected = np.vstack([expected, vectors(change, seed=seed)])
        else:
            gone = np.array([row for row in change if row < len(expected)], dtype=np.int64)
            index.remove(gone)
            expected = np.delete(expected, gone, axis=0)
    np.testing.assert_array_equal(index.stored[:], expected)
