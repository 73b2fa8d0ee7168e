from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from modelscope_plugin.storage.inventory import find_difference, list_files, read_file_state


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "f" / "sub").mkdir(parents=True)
    (tmp_path / "f" / "a.txt").write_text("a")
    (tmp_path / "f" / "sub" / "b.txt").write_text("bb")
    return tmp_path / "f"


def test_read_file_state_has_size_and_digest(folder: Path) -> None:
    assert read_file_state(folder / "sub" / "b.txt").to_record() == {"bytes": 2, "sha256": _digest("bb")}


@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.write_text("longer"),
        lambda path: os.utime(path, ns=(1, 1)),
        lambda path: path.unlink(),
        lambda path: os.replace(path.parent / "sub" / "b.txt", path),
    ],
)
def test_is_current_sees_a_change(folder: Path, change: Callable[[Path], None]) -> None:
    state = read_file_state(folder / "a.txt")
    assert state.is_current(folder / "a.txt")
    change(folder / "a.txt")
    assert not state.is_current(folder / "a.txt")


def test_list_files_has_sizes_by_path(folder: Path) -> None:
    assert list_files(folder) == {"a.txt": 1, "sub/b.txt": 2}


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        (lambda folder: None, None),
        (lambda folder: (folder / "a.txt").write_text("any content"), None),
        (lambda folder: (folder / "sub" / "b.txt").write_text("cc"), ("sub/b.txt", "changed")),
        (lambda folder: (folder / "a.txt").unlink(), ("a.txt", "missing")),
        (lambda folder: (folder / "sub" / "c").write_text(""), ("sub/c", "unexpected")),
        (lambda folder: (folder / "sub" / "c").symlink_to("b.txt"), ("sub/c", "link")),
        (lambda folder: os.mkfifo(folder / "pipe"), ("pipe", "unexpected")),
    ],
)
def test_find_difference_names_the_first(
    folder: Path, change: Callable[[Path], None], difference: tuple[str, str] | None
) -> None:
    change(folder)
    assert find_difference(folder, {"a.txt": None, "sub/b.txt": _digest("bb")}) == difference
