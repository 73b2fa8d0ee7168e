"""Files and folders that are written whole or not at all.

A result is written into a draft, a hidden folder beside its path, flushed to the disk and renamed to its path. No
portable call exchanges two folders, so an earlier folder is renamed aside first; a process that is killed between the
two renames leaves it under that name, and `recover_folder` brings it back.

A draft is locked while it is written. The system drops the lock together with the process, however that ends, so a
draft that can be locked is stale. (A process id would not tell: it is used again, and every container has its own.)
"""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from modelscope_plugin.errors import InputError, PluginError

try:
    import fcntl
except ImportError:  # Windows: nothing is locked there, and what a killed process leaves stays
    fcntl = None  # type: ignore[assignment]

_DRAFT, _EARLIER = "part", "earlier"
_SIBLING = re.compile(rf"\.(?P<target>.+)\.[0-9a-f]{{8}}\.(?P<kind>{_DRAFT}|{_EARLIER})", re.DOTALL)


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Give a path to write to, and rename it to ``path`` when all went well.

    The file gets the permissions that the umask gives to new files. A symbolic link at ``path`` is followed; what is
    not a regular file (a device, a named pipe) is written to directly.
    """
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file():
        yield path
        return
    with _make_draft(path) as draft:
        file = draft / path.name
        yield file
        _finish(draft)
        os.replace(file, path)
        _flush_folder(path.parent)


@contextmanager
def replace_folder(path: Path) -> Iterator[Path]:
    """Give an empty folder to fill, and rename it to ``path`` when all went well.

    At every moment, opening ``path`` after `recover_folder` gives its earlier content or the new one. All files in it
    get the permissions that the umask gives to new files. A symbolic link at ``path`` is followed.

    Raises:
        InputError: If ``path`` is a file.
    """
    path = Path(os.path.realpath(path))
    if path.is_file():
        raise InputError(f"{path} is a file; name a folder")
    try:
        with _make_draft(path) as draft:
            yield draft
            _finish(draft)
            _swap(draft, path)
    finally:
        recover_folder(path)


@contextmanager
def update_folder(path: Path) -> Iterator[Path]:
    """Give an empty folder to fill, and move each file of it into the folder ``path``, over one of the same name.

    Each file is written whole or not at all, with the permissions that the umask gives to new files.
    """
    with _make_draft(path / "update") as draft:
        yield draft
        _finish(draft)
        for folder, _, names in os.walk(draft):
            target = path / os.path.relpath(folder, draft)
            target.mkdir(exist_ok=True)
            for name in names:
                os.replace(os.path.join(folder, name), target / name)
            _flush_folder(target)


def recover_folder(path: Path) -> None:
    """Bring back a folder that a killed process was about to replace; readers of such folders call this first."""
    path = Path(os.path.realpath(path))
    if os.path.lexists(path) or not path.parent.is_dir():
        return
    if earlier := _siblings(path, _EARLIER):
        # Another process may be quicker, or the one that replaces the folder may still run.
        with suppress(FileNotFoundError):
            _rename_folder(max(earlier, key=os.path.getmtime), path)


def remove_stale_drafts(path: Path) -> None:
    """Remove what killed processes left beside a path that they were writing; every write of it begins so."""
    recover_folder(path)
    # Listed before the look at the path: what was renamed aside by then has a successor if the path exists.
    earlier, drafts = _siblings(path, _EARLIER), _siblings(path, _DRAFT)
    if path.exists():
        for folder in earlier:
            _discard(folder, path)
    for draft in drafts:
        with suppress(OSError), _open_folder(draft) as descriptor:
            if descriptor is not None:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(draft, ignore_errors=True)


def draft_target(path: Path) -> Path | None:
    """Return the path that a draft, or a folder renamed aside, belongs to; None if ``path`` has no such name."""
    match = _SIBLING.fullmatch(path.name)
    return path.with_name(match["target"]) if match else None


def lock_file_of(folder: Path) -> Path:
    """The file that is locked while a folder is changed; it stays, empty, beside the folder."""
    return folder.with_name(f".{folder.name}.lock")


def is_lock_file(path: Path) -> bool:
    """True for a file that `lock_file_of` names, which is no part of the folder that it lies in."""
    is_named_so = path.name.startswith(".") and path.name.endswith(".lock")
    return is_named_so and path.is_file() and not path.is_symlink() and not path.stat().st_size


def check_output_folder(path: Path, record: str) -> None:
    """Refuse to replace a folder that holds anything else than an earlier result of this package.

    Args:
        path: The folder to be written.
        record: The JSON file that an earlier result has in it; its ``files`` are the paths of all the others.

    Raises:
        InputError: If ``path`` is a file, or a folder with other things in it.
    """
    resolved, current = path.resolve(), Path.cwd().resolve()
    if resolved == current or resolved in current.parents:
        raise InputError(f"{path} is the current folder or one above it; name a folder of its own")
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        return
    if not path.is_dir():
        raise InputError(f"{path} is a file; name a folder")
    try:
        files = json.loads((path / record).read_text(encoding="utf-8"))["files"]
        # Encoding with ONNX Runtime leaves its files in a model folder that is finished.
        known = {record, "onnx", *(name.split("/")[0] for name in files)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        known = set()
    for name in known:  # a process that was killed while it wrote a file leaves a draft beside it
        remove_stale_drafts(path / name)
    foreign = sorted(entry.name for entry in path.iterdir() if entry.name not in known and not is_lock_file(entry))
    if foreign:
        raise InputError(f"{path} holds other files ({foreign[0]}, for one); name a new or empty folder")


def check_output_file(path: str | Path, *inputs: str | Path) -> None:
    """Refuse to write a file onto a folder or onto one of the files it is made from.

    Args:
        path: The file to be written.
        *inputs: The files it is made from.

    Raises:
        InputError: If it is one of these.
    """
    resolved = os.path.realpath(path)
    if os.path.isdir(resolved):
        raise InputError(f"{path} is a folder; name a file")
    if resolved in map(os.path.realpath, inputs):
        raise InputError(f"{path} would be written over itself; name another file")


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented UTF-8 JSON, whole or not at all."""
    with replace_file(path) as draft:
        draft.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


@contextmanager
def _make_draft(path: Path) -> Iterator[Path]:
    """Make a locked folder beside ``path`` and remove it in the end, if it still has its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_stale_drafts(path)
    while True:
        draft = _new_sibling(path, _DRAFT)
        os.mkdir(draft)
        with _open_folder(draft) as descriptor:
            if descriptor is not None:
                with suppress(OSError):  # a file system without locks; no draft is taken for stale there
                    # Shared, because a network file system gives a reader no other lock.
                    fcntl.flock(descriptor, fcntl.LOCK_SH)
            # Before it was locked, another process may have taken it for stale.
            if not draft.exists():
                continue
            try:
                yield draft
            except OSError as error:
                if error.filename is None and error.errno is not None and not isinstance(error, PluginError):
                    error.filename = str(path)  # that of a full disk names no file
                raise
            finally:
                shutil.rmtree(draft, ignore_errors=True)
            return


@contextmanager
def _open_folder(path: Path) -> Iterator[int | None]:
    """Open a folder, not a link to one, for locking; None where the system has no locks or the folder is gone."""
    descriptor = None
    if fcntl is not None:
        with suppress(FileNotFoundError):
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        yield descriptor
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _finish(draft: Path) -> None:
    """Give all in a draft the permissions that the umask leaves, and flush it to the disk."""
    permissions = draft.stat().st_mode & 0o777
    for folder, _, names in os.walk(draft, topdown=False):
        for path in (os.path.join(folder, name) for name in names):
            if stat.S_ISREG(os.lstat(path).st_mode):
                # Some libraries write through temporary files that only their owner can read.
                _add_permissions(path, permissions & 0o666)
                descriptor = os.open(path, os.O_RDWR)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
        _add_permissions(folder, permissions)
        _flush_folder(Path(folder))


def _add_permissions(path: str, permissions: int) -> None:
    mode = stat.S_IMODE(os.stat(path).st_mode)
    if permissions & ~mode:  # not every file system can change them
        os.chmod(path, mode | permissions)


def _flush_folder(path: Path) -> None:
    with suppress(OSError), _open_folder(path) as descriptor:  # not every file system can flush a folder
        if descriptor is not None:
            os.fsync(descriptor)


def _swap(draft: Path, path: Path) -> None:
    """Rename a draft to ``path``, and remove what was there."""
    earlier = []
    while True:
        aside = _new_sibling(path, _EARLIER)
        with suppress(FileNotFoundError):
            os.rename(path, aside)
            earlier.append(aside)
        # Between the two renames another process may have brought the folder back, or written it.
        if _rename_folder(draft, path):
            break
    _flush_folder(path.parent)
    for folder in earlier:
        _discard(folder, path)


def _rename_folder(source: Path, target: Path) -> bool:
    """Rename a folder; False if there is something at the target."""
    try:
        os.rename(source, target)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise
        return False
    return True


def _discard(earlier: Path, path: Path) -> None:
    """Remove an earlier folder, under the name of a draft, so that one removed in part is never brought back."""
    draft = _new_sibling(path, _DRAFT)
    with suppress(FileNotFoundError):
        os.rename(earlier, draft)
        shutil.rmtree(draft, ignore_errors=True)


def _new_sibling(path: Path, kind: str) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.{kind}")


def _siblings(path: Path, kind: str) -> list[Path]:
    """List the drafts of a path, or the folders that were renamed aside for it."""
    with os.scandir(path.parent) as entries:
        matches = ((entry, _SIBLING.fullmatch(entry.name)) for entry in entries)
        return [
            Path(entry.path)
            for entry, match in matches
            if match and match.group("target", "kind") == (path.name, kind) and entry.is_dir(follow_symlinks=False)
        ]
