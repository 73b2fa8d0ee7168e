import faiss
import pytest

from modelscope_plugin.retrieval.dense.faiss.threads import for_each


@pytest.fixture(params=[1, 3])
def threads(request: pytest.FixtureRequest):
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(request.param)
    yield request.param
    faiss.omp_set_num_threads(before)


@pytest.mark.parametrize("count", [0, 1, 2, 100])
def test_each_number_is_worked_on_once(threads: int, count: int) -> None:
    done: list[int] = []
    for_each(done.append, count)
    assert sorted(done) == list(range(count))


def test_an_error_in_any_thread_reaches_the_caller(threads: int) -> None:
    def work(number: int) -> None:
        if number == 7:
            raise ValueError("the seventh")

    with pytest.raises(ValueError, match="the seventh"):
        for_each(work, 8)
