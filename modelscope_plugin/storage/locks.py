"""One writer of a folder at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from modelscope_plugin.errors import InputError, MissingFileError
from modelscope_plugin.storage.files import lock_file_of


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
    folder = folder.resolve()
    if not folder.parent.is_dir():  # the lock would make it
        raise MissingFileError(f"there is no folder {folder.parent}")
    lock = FileLock(lock_file_of(folder), timeout=wait, fallback_to_soft=False)
    is_locked = True
    try:
        lock.acquire()
    except Timeout:
        raise InputError(f"{folder} is being changed by another process; wait for it with --wait SECONDS") from None
    except PermissionError:
        raise
    except (OSError, NotImplementedError):  # some network file systems have no locks
        is_locked = False
    try:
        yield
    finally:
        if is_locked:
            lock.release()
