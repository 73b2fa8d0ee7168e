"""SIGINT and SIGTERM on the command line: one line on standard error, and exit status 130 or 143.

Only the command line installs these handlers; importing the package installs none.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143

_MESSAGES = {EXIT_INTERRUPTED: "interrupted", EXIT_TERMINATED: "terminated"}
_STATUSES = {signal.SIGINT: EXIT_INTERRUPTED, signal.SIGTERM: EXIT_TERMINATED}
_ROOM = __name__.rpartition(".")[0]
# Seconds until a signal that came during an import is looked at again.
_RETRY = 0.05
# Whether the process is the command line, not a program that calls it.
_owns_process = False


class Terminated(SystemExit):
    """SIGTERM, as an exception: drafts and temporary folders are removed and other processes end."""


def exit_on_signals() -> None:
    """End the process at once at a signal; for the time in which nothing is open: start, imports, end."""
    global _owns_process
    _owns_process = True
    _install(_exit)


@contextmanager
def raise_on_signals() -> Iterator[None]:
    """Raise KeyboardInterrupt at SIGINT and `Terminated` at SIGTERM, so that what is open is closed."""
    earlier = _install(_raise)
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


def message_of(status: int) -> str:
    """The line on standard error for one of the two exit statuses."""
    return _MESSAGES[status]


def _install(handler: signal._HANDLER) -> dict[signal.Signals, signal._HANDLER]:
    """Install a handler and return the earlier ones; handlers of somebody else and ignored signals stay."""
    earlier: dict[signal.Signals, signal._HANDLER] = {}
    if threading.current_thread() is threading.main_thread():
        for number in _STATUSES:
            current = signal.getsignal(number)
            if current in (signal.SIG_DFL, signal.default_int_handler, _exit):
                earlier[number] = current
                signal.signal(number, handler)
    return earlier


def _exit(number: int, _: FrameType | None) -> None:
    status = _STATUSES[signal.Signals(number)]
    # Without Python's own shutdown, which runs code of libraries that a second signal would break with a traceback.
    os.write(2, f"{message_of(status)}\n".encode())
    os._exit(status)


def _raise(number: int, frame: FrameType | None) -> None:
    importer = _find_importer(frame)
    if importer is not None:
        # Code that is being imported swallows exceptions, or turns them into an ImportError.
        if _owns_process and _module_of(importer).startswith(f"{_ROOM}."):
            _exit(number, frame)  # a command imports what it needs before it opens anything
        if hasattr(signal, "setitimer"):
            signal.signal(signal.SIGALRM, lambda _, later: _raise(number, later))
            signal.setitimer(signal.ITIMER_REAL, _RETRY)
            return
    if _STATUSES[signal.Signals(number)] == EXIT_INTERRUPTED:
        raise KeyboardInterrupt
    raise Terminated(EXIT_TERMINATED)


def _find_importer(frame: FrameType | None) -> FrameType | None:
    """Find the frame, above that which runs the command, whose import statement is running; the outermost of several.

    Returns:
        The frame; None where nothing is being imported.
    """
    importer, was_import = None, False
    while frame is not None and _module_of(frame) != f"{_ROOM}.main":
        is_import = frame.f_code.co_filename == "<frozen importlib._bootstrap>"
        if was_import and not is_import:
            importer = frame
        was_import = is_import
        frame = frame.f_back
    return importer


def _module_of(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))
