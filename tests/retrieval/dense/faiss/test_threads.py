from collections.abc import Iterator

import faiss
import pytest

from modelscope_plugin.retrieval.dense.faiss.threads import map_shares


@pytest.fixture(params=[1, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(request.param)
    yield request.param
    faiss.omp_set_num_threads(before)


@pytest.mark.parametrize("count", [0, 1, 2, 100])
@pytest.mark.parametrize("least", [1, 40])
def test_each_number_is_in_one_share_and_the_shares_are_in_order(threads: int, count: int, least: int) -> None:
    shares = map_shares(lambda share: list(range(100))[share], count, least)
    assert [number for share in shares for number in share] == list(range(count))
    assert len(shares) <= threads
    assert len(shares) == 1 or min(map(len, shares)) >= least


def test_faiss_uses_one_thread_in_a_share_and_as_many_as_before_elsewhere(threads: int) -> None:
    inside = map_shares(lambda share: faiss.omp_get_max_threads(), 100)
    assert inside == [1] * threads
    assert faiss.omp_get_max_threads() == threads


def test_an_error_in_any_thread_reaches_the_caller(threads: int) -> None:
    def work(share: slice) -> None:
        if share.stop == 8:
            raise ValueError("the last")

    with pytest.raises(ValueError, match="the last"):
        map_shares(work, 8)
