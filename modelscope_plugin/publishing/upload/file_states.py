"""What the files of a folder held at one moment, so that a later change of one is seen."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from modelscope_plugin.errors import InputError, MissingFileError, ModelFolderError

# What ModelScope's hub client leaves out of every upload without a word.
_LEFT_OUT = {".git", ".cache", ".ms_upload_cache", ".ms_upload_progress"}


@dataclass(frozen=True)
class FileState:
    """Content of a file, and what of its metadata changes when it is written to.

    Attributes:
        size: Size in bytes.
        sha256: Digest of the content, in hexadecimal digits.
        written: When it was last written, in nanoseconds, and the number of the file in its file system.
    """

    size: int
    sha256: str
    written: tuple[int, int]


def read_states(folder: str | Path, files: Iterable[str]) -> dict[str, FileState]:
    """Take down what the files that go up hold.

    Args:
        folder: The folder.
        files: Their paths in it, with ``/`` between the parts.

    Returns:
        The states by path, in the order of the paths.

    Raises:
        InputError: If no file is named, or a path leads out of the folder, goes through a linked folder or is one that
            the hub client never sends.
        MissingFileError: If the folder or a file is not there.
        ModelFolderError: If a file changes while it is read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise MissingFileError(f"there is no folder {folder}")
    states = {name: _read_state(folder, name) for name in sorted(set(files))}
    if not states:
        raise InputError(f"no file of {folder} is named; there is nothing to upload")
    return states


def check_unchanged(folder: str | Path, states: dict[str, FileState]) -> None:
    """Check that no file was written to, replaced or removed since its state was read.

    Raises:
        ModelFolderError: If one was.
    """
    for name, state in states.items():
        try:
            status = os.stat(Path(folder) / name)
        except OSError:
            raise changed(folder, name) from None
        if (status.st_size, _written(status)) != (state.size, state.written):
            raise changed(folder, name)


def changed(folder: str | Path, name: str) -> ModelFolderError:
    """The error that names a file which changed."""
    return ModelFolderError(
        f"{Path(folder) / name} changed during the upload; nothing was committed. "
        "Wait until nothing writes to the folder, and upload it again"
    )


def _read_state(folder: Path, name: str) -> FileState:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or str(path) != name or "\\" in name:
        raise InputError(f"{name!r} is not the plain path of a file in {folder}")
    unsent = _LEFT_OUT.intersection(path.parts)
    if unsent:
        raise InputError(f"{name}: the hub client never uploads {min(unsent)}; leave it out or give it another name")
    file = folder / path
    if not file.is_file():
        raise MissingFileError(f"there is no file {file}")
    home = folder.resolve()
    if not file.resolve().is_relative_to(home):
        raise InputError(f"{file} is a link that leads out of the folder; put the file itself there")
    if file.parent.resolve() != home / path.parent:
        raise InputError(f"{file} lies in a linked folder, which the hub client passes over; make it a plain folder")
    with file.open("rb") as stream:
        before = os.fstat(stream.fileno())
        digest = hashlib.sha256()
        while block := stream.read(1 << 20):
            digest.update(block)
    state = FileState(before.st_size, digest.hexdigest(), _written(before))
    check_unchanged(folder, {name: state})
    return state


def _written(status: os.stat_result) -> tuple[int, int]:
    return status.st_mtime_ns, status.st_ino
