from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy

import numpy as np

from modelscope_plugin.data.records import Entity
from modelscope_plugin.retrieval import EntityIndex
from modelscope_plugin.retrieval.guard import ReadWriteGuard
from modelscope_plugin.retrieval.retriever import Retriever


def test_search_beside_changes_gives_each_entity_its_own_score() -> None:
    index = EntityIndex(2, "model")
    numbers = range(1, 301)

    def add(number: int) -> None:
        index.add([Entity(f"{number}", f"名{number}")], np.full((1, 2), number, np.float32))

    for number in numbers:
        add(number)
    retriever, query, stopped = Retriever(index, "hybrid"), np.ones((1, 2), np.float32), []

    def search(_: int) -> int:
        searches = 0
        while not stopped:
            found = index.search(query, 10)[0]
            assert all((one.name, one.score) == (f"名{one.id}", 2 * int(one.id)) for one in found)
            found = retriever.search(query, ["名7"], 10)[0]
            assert all((one.name, one.dense_score) == (f"名{one.id}", 2 * int(one.id)) for one in found)
            searches += 1
        return searches

    with ThreadPoolExecutor(3) as pool:
        searches = [pool.submit(search, number) for number in range(2)]
        try:
            for number in numbers[:40]:
                index.remove([f"{number}"])
                add(number)
        finally:
            stopped.append(True)
        assert sum(one.result() for one in searches) > 0


def test_thread_inside_may_come_in_again() -> None:
    guard = ReadWriteGuard()
    with guard.write(), guard.read(), guard.write():
        pass
    with guard.read(), guard.read(), guard.write():
        pass
    with guard.write():
        pass


def test_copy_of_a_held_guard_is_free() -> None:
    guard = ReadWriteGuard()
    with guard.write():
        copied = deepcopy(guard)
    with ThreadPoolExecutor(1) as pool, guard.write():
        pool.submit(_enter, copied).result(timeout=60)


def _enter(guard: ReadWriteGuard) -> None:
    with guard.write():
        pass
