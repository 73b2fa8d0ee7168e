import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from modelscope_plugin.errors import InputError
from modelscope_plugin.storage.atomic_write import (
    check_output_file,
    check_output_folder,
    draft_target,
    recover_folder,
    remove_stale_drafts,
    replace_file,
    replace_folder,
    update_folder,
    write_json,
)

# Kills a process before each single step on the file system in turn, until one survives; prints what each leaves.
KILLED = """
import os, sys
from pathlib import Path
from modelscope_plugin.storage.atomic_write import recover_folder, replace_file, replace_folder

def write(path, content):
    if path.suffix == ".txt":
        with replace_file(path) as draft:
            draft.write_text(content)
    else:
        with replace_folder(path) as draft:
            (draft / "one.txt").write_text(content)
            (draft / "two.txt").write_text(content)

def read(path):
    if path.suffix == ".txt":
        return path.read_text()
    recover_folder(path)
    assert sorted(os.listdir(path)) == ["one.txt", "two.txt"]
    one, two = (path / "one.txt").read_text(), (path / "two.txt").read_text()
    assert one == two
    return one

path = Path(sys.argv[1])
write(path, "old")
for last in range(1, 100):
    if not (process := os.fork()):
        steps = iter(range(last))
        def step(event, arguments):
            steps_that_change = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "shutil.rmtree")
            if event in steps_that_change and next(steps, None) is None:
                os._exit(9)
        sys.addaudithook(step)
        write(path, "new")
        os._exit(0)
    killed = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 9
    print(read(path))
    write(path, "old")
    assert os.listdir(path.parent) == [path.name], os.listdir(path.parent)
    if not killed:
        break
"""


class Interruption(BaseException):
    """Stands for whatever may come in between: Ctrl+C, a signal, no memory."""


def interrupted(draft: Path, error: BaseException) -> None:
    """Write half of something, then raise."""
    (draft / "new.txt" if draft.is_dir() else draft).write_text("半", encoding="utf-8")
    raise error


def fail_at_rename(monkeypatch: pytest.MonkeyPatch, number: int, error: BaseException) -> None:
    """Let only the rename of that number, from 1, raise."""
    rename: Callable[..., None] = os.rename
    calls = iter(range(1, 100))

    def renamed(*args: object) -> None:
        if next(calls) == number:
            raise error
        rename(*args)

    monkeypatch.setattr(os, "rename", renamed)


@pytest.fixture
def umask() -> Iterator[int]:
    earlier = os.umask(0o027)
    yield 0o027
    os.umask(earlier)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with an earlier result, alone in its parent."""
    (tmp_path / "result").mkdir()
    (tmp_path / "result" / "old.txt").write_text("旧", encoding="utf-8")
    return tmp_path / "result"


def test_replace_file_writes_a_new_file(tmp_path: Path) -> None:
    with replace_file(tmp_path / "a.txt") as draft:
        draft.write_text("新", encoding="utf-8")
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "新"


def test_replace_file_shows_nothing_before_the_end(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("旧", encoding="utf-8")
    with replace_file(tmp_path / "a.txt") as draft:
        draft.write_text("新", encoding="utf-8")
        assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "旧"


@pytest.mark.parametrize("error", [OSError("no room"), Interruption()])
def test_replace_file_keeps_the_earlier_file_when_writing_fails(tmp_path: Path, error: BaseException) -> None:
    (tmp_path / "a.txt").write_text("旧", encoding="utf-8")
    with pytest.raises(type(error)), replace_file(tmp_path / "a.txt") as draft:
        interrupted(draft, error)
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "旧"


@pytest.mark.parametrize("fails", [False, True])
def test_replace_file_leaves_no_draft(tmp_path: Path, fails: bool) -> None:
    try:
        with replace_file(tmp_path / "a.txt") as draft:
            draft.write_text("新", encoding="utf-8")
            if fails:
                raise Interruption
    except Interruption:
        pass
    assert os.listdir(tmp_path) == ([] if fails else ["a.txt"])


def test_replace_file_makes_the_folders_above(tmp_path: Path) -> None:
    with replace_file(tmp_path / "x" / "y" / "a.txt") as draft:
        draft.write_bytes(b"a")
    assert (tmp_path / "x" / "y" / "a.txt").read_bytes() == b"a"


def test_replace_folder_writes_a_new_folder(tmp_path: Path) -> None:
    with replace_folder(tmp_path / "x" / "result") as draft:
        (draft / "new.txt").write_bytes(b"a")
    assert os.listdir(tmp_path / "x" / "result") == ["new.txt"]


def test_replace_folder_gives_an_empty_folder(folder: Path) -> None:
    with replace_folder(folder) as draft:
        assert os.listdir(draft) == []


def test_replace_folder_takes_the_place_of_the_earlier_one(folder: Path) -> None:
    with replace_folder(folder) as draft:
        (draft / "new.txt").write_bytes(b"a")
    assert os.listdir(folder) == ["new.txt"]


def test_replace_folder_leaves_nothing_beside_it(folder: Path) -> None:
    with replace_folder(folder) as draft:
        (draft / "new.txt").write_bytes(b"a")
    assert os.listdir(folder.parent) == ["result"]


def test_replace_folder_takes_a_relative_path(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    with replace_folder(Path("result")) as draft:
        (draft / "new.txt").write_bytes(b"a")
    assert os.listdir(folder) == ["new.txt"]


def test_replace_folder_follows_the_umask(tmp_path: Path, umask: int) -> None:
    with replace_folder(tmp_path / "result"):
        pass
    assert (tmp_path / "result").stat().st_mode & 0o777 == 0o777 & ~umask


@pytest.mark.parametrize("error", [OSError("no room"), Interruption()])
def test_replace_folder_keeps_the_earlier_folder_when_filling_fails(folder: Path, error: BaseException) -> None:
    with pytest.raises(type(error)), replace_folder(folder) as draft:
        interrupted(draft, error)
    assert (os.listdir(folder), os.listdir(folder.parent)) == (["old.txt"], ["result"])


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("error", [OSError("no room"), Interruption()])
def test_replace_folder_keeps_the_earlier_folder_when_a_rename_fails(
    folder: Path, monkeypatch: pytest.MonkeyPatch, number: int, error: BaseException
) -> None:
    fail_at_rename(monkeypatch, number, error)
    with pytest.raises(type(error)), replace_folder(folder):
        pass
    assert (os.listdir(folder), os.listdir(folder.parent)) == (["old.txt"], ["result"])


@pytest.mark.process
@pytest.mark.parametrize("name", ["result", "result.txt"])
def test_a_kill_at_any_step_leaves_the_old_or_the_new(tmp_path: Path, name: str) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path / name)]
    contents = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    turn = contents.index("new")
    assert turn > 5
    assert contents == ["old"] * turn + ["new"] * (len(contents) - turn)


def test_replace_folder_refuses_a_file(folder: Path) -> None:
    with pytest.raises(InputError, match="is a file; name a folder"), replace_folder(folder / "old.txt"):
        pass


def test_replace_folder_goes_on_when_a_reader_brings_the_earlier_folder_back(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename: Callable[..., None] = os.rename

    def rename_and_recover(source: Path, target: Path) -> None:
        rename(source, target)
        if source == folder:
            monkeypatch.setattr(os, "rename", rename)
            recover_folder(folder)

    monkeypatch.setattr(os, "rename", rename_and_recover)
    with replace_folder(folder) as draft:
        (draft / "new.txt").write_bytes(b"a")
    assert (os.listdir(folder), os.listdir(folder.parent)) == (["new.txt"], ["result"])


def test_threads_that_write_one_folder_leave_the_result_of_one(folder: Path) -> None:
    def write(number: int) -> None:
        with replace_folder(folder) as draft:
            for name in ("one", "two"):
                (draft / name).write_text(str(number))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(40)))
    assert (folder / "one").read_text() == (folder / "two").read_text()
    assert os.listdir(folder.parent) == ["result"]


def test_threads_that_write_one_file_leave_the_result_of_one(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: write_json(tmp_path / "a.json", [number] * 9), range(40)))
    assert len(set(json.loads((tmp_path / "a.json").read_bytes()))) == 1
    assert os.listdir(tmp_path) == ["a.json"]


def test_recover_folder_takes_the_newest_of_several(tmp_path: Path) -> None:
    for age, name in enumerate(("aaaaaaaa", "bbbbbbbb")):
        earlier = tmp_path / f".result.{name}.earlier"
        earlier.mkdir()
        os.utime(earlier, (1e9 - age, 1e9 - age))
    recover_folder(tmp_path / "result")
    assert sorted(os.listdir(tmp_path)) == [".result.bbbbbbbb.earlier", "result"]


def test_recover_folder_leaves_other_folders_alone(tmp_path: Path) -> None:
    (tmp_path / ".other.aaaaaaaa.earlier").mkdir()
    recover_folder(tmp_path / "result")
    recover_folder(tmp_path / "none" / "result")
    assert os.listdir(tmp_path) == [".other.aaaaaaaa.earlier"]


def test_stale_drafts_are_removed_and_those_being_written_are_not(tmp_path: Path) -> None:
    (tmp_path / ".a.txt.0123abcd.part").mkdir()
    (tmp_path / ".b.txt.0123abcd.part").mkdir()
    with replace_file(tmp_path / "a.txt") as draft:
        remove_stale_drafts(tmp_path / "a.txt")
        assert sorted(os.listdir(tmp_path)) == sorted([".b.txt.0123abcd.part", draft.parent.name])
        draft.write_bytes(b"")


def test_draft_target_is_the_path_of_the_result(tmp_path: Path) -> None:
    with replace_file(tmp_path / "a.txt") as draft:
        assert draft_target(draft.parent) == tmp_path / "a.txt"
        assert draft_target(tmp_path / "a.txt") is None
        draft.write_bytes(b"")


def test_replace_folder_gives_all_files_the_permissions_of_the_umask(tmp_path: Path, umask: int) -> None:
    with replace_folder(tmp_path / "result") as draft:
        (draft / "inner").mkdir(mode=0o700)
        (draft / "inner" / "a.txt").touch(mode=0o600)
        (draft / "link").symlink_to(tmp_path)
    assert (tmp_path / "result" / "inner").stat().st_mode & 0o777 == 0o777 & ~umask
    assert (tmp_path / "result" / "inner" / "a.txt").stat().st_mode & 0o777 == 0o666 & ~umask


def test_replace_file_gives_the_permissions_of_the_umask(tmp_path: Path, umask: int) -> None:
    with replace_file(tmp_path / "a.txt") as draft:
        draft.touch(mode=0o600)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o666 & ~umask


def test_replace_folder_fills_the_folder_that_a_link_points_to(folder: Path) -> None:
    (folder.parent / "link").symlink_to(folder)
    with replace_folder(folder.parent / "link") as draft:
        (draft / "new.txt").write_bytes(b"a")
    assert os.listdir(folder) == ["new.txt"]


def test_replace_folder_leaves_nothing_beside_a_link(folder: Path) -> None:
    (folder.parent / "link").symlink_to(folder)
    with replace_folder(folder.parent / "link") as draft:
        (draft / "new.txt").write_bytes(b"a")
    assert sorted(os.listdir(folder.parent)) == ["link", "result"]


def test_check_output_folder_accepts_what_does_not_exist(tmp_path: Path) -> None:
    assert check_output_folder(tmp_path / "none", "marker.json") is None


def test_check_output_folder_accepts_an_empty_folder(tmp_path: Path) -> None:
    assert check_output_folder(tmp_path, "marker.json") is None


def test_check_output_folder_accepts_an_earlier_result(tmp_path: Path) -> None:
    (tmp_path / "marker.json").write_bytes(b'{"files": ["data.txt"]}')
    (tmp_path / "data.txt").write_bytes(b"")
    assert check_output_folder(tmp_path, "marker.json") is None


def test_check_output_folder_refuses_what_an_earlier_result_does_not_name(tmp_path: Path) -> None:
    (tmp_path / "marker.json").write_bytes(b'{"files": []}')
    (tmp_path / "notes.txt").write_bytes(b"mine")
    with pytest.raises(InputError, match=r"holds other files \(notes\.txt, for one\)"):
        check_output_folder(tmp_path, "marker.json")


def test_check_output_folder_refuses_a_folder_with_other_things(folder: Path) -> None:
    with pytest.raises(InputError, match=r"holds other files \(old\.txt, for one\)"):
        check_output_folder(folder, "marker.json")


def test_check_output_folder_refuses_a_file(folder: Path) -> None:
    with pytest.raises(InputError, match="is a file; name a folder"):
        check_output_folder(folder / "old.txt", "marker.json")


def test_write_json_writes_readable_chinese(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"名": "大鹏"})
    assert (tmp_path / "a.json").read_bytes() == '{\n  "名": "大鹏"\n}\n'.encode()


def test_write_json_keeps_the_earlier_file_when_a_value_is_no_json(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", 1)
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"x": object()})
    assert (json.loads((tmp_path / "a.json").read_bytes()), os.listdir(tmp_path)) == (1, ["a.json"])


def test_replace_file_follows_a_link(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"old")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with replace_file(tmp_path / "link") as draft:
        draft.write_bytes(b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_bytes() == b"new"


def test_replace_file_writes_to_a_device_as_it_is() -> None:
    with replace_file(Path("/dev/null")) as draft:
        draft.write_bytes(b"new")
    assert Path("/dev/null").is_char_device()


def test_output_file_is_no_folder_and_none_of_its_inputs(tmp_path: Path) -> None:
    source, link = tmp_path / "in.jsonl", tmp_path / "link.jsonl"
    source.write_text("{}")
    link.symlink_to(source)
    check_output_file(tmp_path / "out.jsonl", source)
    with pytest.raises(InputError, match="is a folder; name a file"):
        check_output_file(tmp_path, source)
    with pytest.raises(InputError, match="would be written over itself; name another file"):
        check_output_file(link, tmp_path / "other.jsonl", source)


def test_update_folder_replaces_files_of_the_same_name_and_keeps_the_others(folder: Path, umask: int) -> None:
    (folder / "inner").mkdir()
    (folder / "inner" / "kept.txt").write_text("kept")
    with update_folder(folder) as draft:
        (draft / "inner").mkdir()
        (draft / "inner" / "new.txt").touch(mode=0o600)
        (draft / "old.txt").write_text("new")
    assert sorted(os.listdir(folder)) == ["inner", "old.txt"]
    assert sorted(os.listdir(folder / "inner")) == ["kept.txt", "new.txt"]
    assert (folder / "old.txt").read_text() == "new"
    assert (folder / "inner" / "new.txt").stat().st_mode & 0o777 == 0o666 & ~umask


def test_a_draft_that_another_process_takes_for_stale_before_it_is_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mkdir: Callable[..., None] = os.mkdir

    def make_and_remove(path: Path, *mode: int) -> None:
        mkdir(path, *mode)  # raises for the parent, which exists
        monkeypatch.setattr(os, "mkdir", mkdir)
        remove_stale_drafts(tmp_path / "a.json")

    monkeypatch.setattr(os, "mkdir", make_and_remove)
    write_json(tmp_path / "a.json", 1)
    assert os.listdir(tmp_path) == ["a.json"]
