"""Many threads that read, or one that changes."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager


class ReadWriteGuard:
    """Lets many threads read, or one write; a thread that is inside may come in again.

    A writer waits for those who read, and readers who come later wait for it.
    """

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._readers: Counter[int] = Counter()
        self._writer: int | None = None
        self._waiting = 0

    def __reduce__(self) -> tuple[type[ReadWriteGuard], tuple[()]]:
        return ReadWriteGuard, ()  # a copy is used by nobody yet

    @contextmanager
    def read(self) -> Iterator[None]:
        """Keep writers out."""
        thread = threading.get_ident()
        with self._condition:
            if self._writer != thread and not self._readers[thread]:
                self._condition.wait_for(lambda: self._writer is None and not self._waiting)
            self._readers[thread] += 1
        try:
            yield
        finally:
            with self._condition:
                self._readers[thread] -= 1
                self._readers += Counter()  # drops those at 0
                self._condition.notify_all()

    @contextmanager
    def write(self) -> Iterator[None]:
        """Keep all others out."""
        thread = threading.get_ident()
        with self._condition:
            is_outer = self._writer != thread
            if is_outer:
                self._waiting += 1
                self._condition.wait_for(
                    lambda: self._writer is None and all(one == thread for one in self._readers if self._readers[one])
                )
                self._waiting -= 1
                self._writer = thread
        try:
            yield
        finally:
            if is_outer:
                with self._condition:
                    self._writer = None
                    self._condition.notify_all()
