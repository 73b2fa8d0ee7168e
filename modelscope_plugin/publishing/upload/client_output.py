"""What the hub client writes while it works: kept off standard output, and free of secrets."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout


class _Filter(logging.Filter):
    """Lets warnings through where progress is shown; an exception is named by its class alone.

    The text of an exception can hold signed addresses and what the hub answered.
    """

    def __init__(self, show: bool) -> None:
        super().__init__()
        self._show = show

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(type(arg).__name__ if isinstance(arg, Exception) else arg for arg in record.args)
        return self._show and record.levelno == logging.WARNING


@contextmanager
def client_output(show: bool) -> Iterator[None]:
    """Tame the output of the hub client.

    Its progress bars go to standard error anyway. Its report, which it prints, goes there too or nowhere; of its log
    only the warnings stay (a request that is tried again), since errors reach the caller as exceptions.

    Args:
        show: Whether there is to be any.
    """
    filters: list[tuple[logging.Filterer, _Filter]] = [
        (handler, _Filter(show)) for handler in logging.getLogger("modelscope_hub").handlers
    ]
    filters.append((logging.getLogger("urllib3.connectionpool"), _Filter(show=False)))
    for place, quiet in filters:
        place.addFilter(quiet)
    try:
        with redirect_stdout(sys.stderr if show else io.StringIO()):
            yield
    finally:
        for place, quiet in filters:
            place.removeFilter(quiet)
