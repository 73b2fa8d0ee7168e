"""One writer of a folder at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from modelscope_plugin.errors import InputError, MissingFileError
from modelscope_plugin.storage.atomic_write import lock_file_of

if TYPE_CHECKING:
    from filelock import FileLock


def acquire_lock(file: Path, wait: float = 0) -> FileLock | None:
    """Lock a file for this process, whichever of its threads releases it; the system drops the lock when it ends.

    Args:
        file: The file, which is made.
        wait: Seconds to wait for another process.

    Returns:
        The lock, to be released; None on a file system without locks.

    Raises:
        Timeout: If another process still holds it then.
        PermissionError: If the file may not be written.
    """
    # Here, because the help of the command line would wait for it.
    from filelock import FileLock, Timeout

    lock = FileLock(file, timeout=wait, thread_local=False, fallback_to_soft=False)
    try:
        lock.acquire()
    except (Timeout, PermissionError):
        raise
    except (OSError, NotImplementedError):  # some network file systems have no locks
        return None
    return lock


@contextmanager
def lock_folder(folder: Path, wait: float = 0) -> Iterator[None]:
    """Keep other processes from changing a folder; whoever reads, changes and writes it does all three inside.

    The lock is a hidden file beside the folder, which may be replaced meanwhile. The system drops it together with the
    process. Where the file system has no locks, nothing is locked.

    Args:
        folder: The folder.
        wait: Seconds to wait for another process.

    Raises:
        InputError: If another process still changes the folder then.
        MissingFileError: If the folder above is missing.
    """
    from filelock import Timeout

    folder = folder.resolve()
    if not folder.parent.is_dir():  # the lock would make it
        raise MissingFileError(f"there is no folder {folder.parent}")
    try:
        lock = acquire_lock(lock_file_of(folder), wait)
    except Timeout:
        raise InputError(f"{folder} is being changed by another process; wait for it with --wait SECONDS") from None
    try:
        yield
    finally:
        if lock is not None:
            lock.release()
