"""Files and folders that are written whole or not at all."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from modelscope_plugin.errors import InputError


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Give a path beside ``path`` to write to, and rename it onto ``path`` when all went well.

    A link is followed; what is no regular file (a device, a named pipe) is written to directly.
    """
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file():
        yield path
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield draft
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


@contextmanager
def replace_folder(path: Path) -> Iterator[Path]:
    """Give an empty folder beside ``path`` to fill, and put it in the place of ``path`` when all went well.

    Whatever happens, ``path`` holds either its earlier content or the new one. On Linux the two folders change
    places in one step; elsewhere a process killed between two renames leaves the earlier one beside it.
    """
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
    draft.chmod(0o777 & ~_umask())
    try:
        yield draft
        if not path.exists():
            os.rename(draft, path)
        elif not _exchange(draft, path):
            earlier = draft.with_suffix(".earlier")
            os.rename(path, earlier)
            try:
                os.rename(draft, path)
            except BaseException:
                os.rename(earlier, path)
                raise
            shutil.rmtree(earlier, ignore_errors=True)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def check_output_folder(path: Path, record: str) -> None:
    """Refuse to write a folder over something that is not an earlier result of ours.

    Args:
        path: The folder to be written.
        record: The JSON file that an earlier result has in it; its ``files`` are the paths of all the others.

    Raises:
        InputError: If ``path`` is a file, or a folder with other things in it.
    """
    place, current = path.resolve(), Path.cwd().resolve()
    if place == current or place in current.parents:
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
    foreign = sorted(entry.name for entry in path.iterdir() if entry.name not in known)
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
    place = os.path.realpath(path)
    if os.path.isdir(place):
        raise InputError(f"{path} is a folder; name a file")
    if place in map(os.path.realpath, inputs):
        raise InputError(f"{path} would be written over itself; name another file")


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented UTF-8 JSON, whole or not at all."""
    with replace_file(path) as draft:
        draft.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def _exchange(one: Path, other: Path) -> bool:
    """Let two folders change places in one step, where the system can (Linux: renameat2)."""
    current_folder, exchange = -100, 2
    try:
        renameat2 = ctypes.CDLL(None).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    return bool(renameat2(current_folder, os.fsencode(one), current_folder, os.fsencode(other), exchange) == 0)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
