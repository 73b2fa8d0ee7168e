"""Work on single queries or blocks of vectors, spread over as many threads as FAISS uses."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


def for_each(work: Callable[[int], None], count: int) -> None:
    """Call ``work`` with each number below ``count``; the calls must not depend on each other."""
    import faiss

    threads = max(1, min(count, faiss.omp_get_max_threads()))

    def work_on(first: int) -> None:
        for number in range(first, count, threads):
            work(number)

    if threads == 1:
        work_on(0)
        return
    with ThreadPoolExecutor(threads) as pool:
        # Each thread gets its share at once: single calls are too short to be handed over one by one.
        list(pool.map(work_on, range(threads)))
