"""Work on queries or vectors, spread over as many threads as FAISS uses."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")


def map_shares(work: Callable[[slice], Result], count: int, least: int = 1) -> list[Result]:
    """Divide ``count`` things among threads and call ``work`` with the slice of each thread.

    Within such a thread FAISS uses one thread: OpenMP keeps that setting for each thread, not for the process. Products
    that are made side by side do not wait for each other, as the thread pools of numpy, torch and FAISS do.

    Args:
        work: The calls must not depend on each other.
        count: How many things there are.
        least: How many are worth a thread.

    Returns:
        The results of the slices in their order, of one empty slice where there is nothing.
    """
    import faiss

    threads = max(1, min(faiss.omp_get_max_threads(), count // least))
    if threads == 1:
        return [work(slice(0, count))]
    ends = [count * number // threads for number in range(threads + 1)]
    with ThreadPoolExecutor(threads, initializer=faiss.omp_set_num_threads, initargs=(1,)) as pool:
        return list(pool.map(work, map(slice, ends, ends[1:])))
