"""The files of a folder, with sizes and checksums, and what is needed to see that one of them changes later."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelscope_plugin.errors import ModelFolderError
from modelscope_plugin.storage.atomic_write import is_lock_file
from modelscope_plugin.storage.digests import file_sha256


@dataclass(frozen=True)
class FileState:
    """Content of a file, and what of its metadata changes when it is written to.

    Attributes:
        size: Size in bytes.
        sha256: Digest of the content, in hexadecimal digits.
        mtime_ns: When it was last written, in nanoseconds.
        inode: Number of the file in its file system; a file that replaces it has another.
    """

    size: int
    sha256: str
    mtime_ns: int
    inode: int

    def to_record(self) -> dict[str, Any]:
        """Size and digest, as the manifest of an index records them."""
        return {"bytes": self.size, "sha256": self.sha256}

    def is_current(self, path: Path) -> bool:
        """True unless the file was written to, replaced or removed since its state was read. Reads no content."""
        try:
            status = os.stat(path)
        except OSError:
            return False
        return (status.st_size, status.st_mtime_ns, status.st_ino) == (self.size, self.mtime_ns, self.inode)


def read_file_state(path: Path) -> FileState:
    """Read the state of a file.

    Raises:
        OSError: If the file cannot be read.
        ModelFolderError: If it changes while it is read.
    """
    status = os.stat(path)
    state = FileState(status.st_size, file_sha256(path), status.st_mtime_ns, status.st_ino)
    if not state.is_current(path):
        raise ModelFolderError(f"{path} changed while it was read; wait until nothing writes to the folder")
    return state


def list_files(folder: Path) -> dict[str, int]:
    """Size in bytes of every file in a folder and below, by its path in it with ``/`` between the parts.

    Lock files of this package are left out.
    """
    return {
        path.relative_to(folder).as_posix(): path.stat().st_size
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not is_lock_file(path)
    }


def find_difference(folder: Path, digests: Mapping[str, str | None]) -> tuple[str, str] | None:
    """Compare the files of a folder, except for lock files of this package, with recorded checksums.

    Args:
        folder: The folder.
        digests: The sha256 of every file by its path; None for a file of any content.

    Returns:
        The first file that differs and how: ``missing``, ``unexpected``, ``link`` or ``changed``; None where
        the folder holds exactly the recorded files.
    """
    entries = {
        path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if not is_lock_file(path)
    }
    files = {name for name, path in entries.items() if path.is_symlink() or not path.is_dir()}
    if link := next((name for name, path in entries.items() if path.is_symlink()), None):
        return link, "link"
    if missing := sorted(digests.keys() - files):
        return missing[0], "missing"
    if unexpected := sorted(files - digests.keys()):
        return unexpected[0], "unexpected"
    for name, digest in digests.items():
        if digest is not None and (not entries[name].is_file() or read_file_state(entries[name]).sha256 != digest):
            return name, "changed"
    return None
