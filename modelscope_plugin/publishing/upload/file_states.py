"""The files to upload: their states when they were checked, and whether they have changed since."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from modelscope_plugin.errors import InputError, MissingFileError, ModelFolderError
from modelscope_plugin.storage.inventory import FileState, read_file_state

# Names that ModelScope's hub client leaves out of every upload and may put beside a download.
_LOCAL_NAMES = {".git", ".cache", ".ms_upload_cache", ".ms_upload_progress"}


def read_file_states(folder: str | Path, files: Iterable[str]) -> dict[str, FileState]:
    """Read the states of the files to upload.

    Args:
        folder: The folder.
        files: Their paths in it, with ``/`` between the parts.

    Returns:
        The states by path, in the order of the paths.

    Raises:
        InputError: If no file is named, or a path leads out of the folder or is one that the hub client never sends.
        MissingFileError: If the folder or a file is not there.
        ModelFolderError: If a file changes while it is read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise MissingFileError(f"there is no folder {folder}")
    states = {name: read_file_state(_find_file(folder, name)) for name in sorted(set(files))}
    if not states:
        raise InputError(f"no file of {folder} is named; there is nothing to upload")
    return states


def check_unchanged(folder: str | Path, states: Mapping[str, FileState]) -> None:
    """Raise `ModelFolderError` if a file was written to, replaced or removed since its state was read."""
    for name, state in states.items():
        if not state.is_current(Path(folder) / name):
            raise changed_file_error(folder, name)


def changed_file_error(folder: str | Path, name: str) -> ModelFolderError:
    """Make the error for a file that changed."""
    return ModelFolderError(
        f"{Path(folder) / name} changed during the upload; nothing was committed. "
        "Wait until nothing writes to the folder, and upload it again"
    )


def _find_file(folder: Path, name: str) -> Path:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or str(path) != name or "\\" in name:
        raise InputError(f"{name!r} is not the plain path of a file in {folder}")
    if local := _LOCAL_NAMES.intersection(path.parts):
        raise InputError(f"{name}: the hub client never uploads {min(local)}; leave it out or give it another name")
    file = folder / path
    if not file.is_file():
        raise MissingFileError(f"there is no file {file}")
    if not file.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"{file} is a link that leads out of the folder; put the file itself there")
    return file
