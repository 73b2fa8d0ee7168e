"""The work on single queries, spread over the threads that FAISS uses too."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


def for_each(work: Callable[[int], None], count: int) -> None:
    """Call ``work`` with each number below ``count``; numpy lets go of Python's lock for most of what it does.

    Args:
        work: What to do; calls must not depend on each other.
        count: How often.
    """
    import faiss

    threads = min(count, faiss.omp_get_max_threads())
    if threads <= 1:
        for number in range(count):
            work(number)
        return
    with ThreadPoolExecutor(threads) as pool:
        # A block each: single calls are too short to be handed over one by one.
        for done in [pool.submit(_block, work, range(start, count, threads)) for start in range(threads)]:
            done.result()


def _block(work: Callable[[int], None], numbers: range) -> None:
    for number in numbers:
        work(number)
