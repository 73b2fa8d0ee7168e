"""Several processes on one index: nothing is lost, and a reader sees one whole state."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from modelscope_plugin.cli.main import main
from modelscope_plugin.data.records import Entity, Mention
from modelscope_plugin.errors import InputError
from modelscope_plugin.retrieval import EntityIndex
from modelscope_plugin.storage.locks import lock_folder

pytestmark = pytest.mark.process

ROUNDS = 5
# What `index --add` does, without the time that loading a model takes.
ADD = """
import sys
from pathlib import Path
import numpy as np
from modelscope_plugin.data.records import Entity
from modelscope_plugin.retrieval import EntityIndex
from modelscope_plugin.storage.locks import lock_folder
folder, name, rounds = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
for number in range(rounds):
    with lock_folder(folder, 60):
        index = EntityIndex.load(folder, verify=True)
        index.add([Entity(f"{name}{number}", name)], np.ones((1, 4), np.float32))
        index.save(folder)
"""
# Ids and vectors change together: the first vector holds the number in the first id.
REPLACE = """
import sys
import numpy as np
from modelscope_plugin.data.records import Entity
from modelscope_plugin.retrieval import EntityIndex
for number in range(60):
    index = EntityIndex(4, "model")
    index.add([Entity(f"{number}", f"名{number}")], np.full((1, 4), number, np.float32))
    index.save(sys.argv[1])
"""


def start(program: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", program, *map(str, arguments)], stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> None:
    _, errors = process.communicate(timeout=120)
    assert (process.returncode, errors) == (0, "")


def make_index(folder: Path) -> Path:
    index = EntityIndex(4, "model")
    index.add([Entity("0", "名0")], np.zeros((1, 4), np.float32))
    index.save(folder / "index")
    return folder / "index"


def test_two_that_add_at_once_both_keep_their_entities(tmp_path: Path) -> None:
    folder = make_index(tmp_path)
    for process in [start(ADD, folder, name, ROUNDS) for name in ("a", "b")]:
        finish(process)
    wanted = {"0", *(f"{name}{number}" for name in ("a", "b") for number in range(ROUNDS))}
    assert set(EntityIndex.load(folder, verify=True).ids) == wanted


@pytest.mark.parametrize("verify", [True, False])
def test_reader_beside_a_writer_sees_one_whole_state(tmp_path: Path, verify: bool) -> None:
    folder = make_index(tmp_path)
    writer = start(REPLACE, folder)
    openings = 0
    while writer.poll() is None:
        index = EntityIndex.load(folder, verify=verify)
        number = int(index.ids[0])
        assert (index.vectors[0, 0], index[0].name) == (number, f"名{number}")
        assert index.lexicon.names.names == [f"名{number}"]
        openings += 1
    finish(writer)
    assert openings
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index"]


def test_names_learnt_are_there_after_the_folder_was_replaced(tmp_path: Path) -> None:
    folder = make_index(tmp_path)
    index = EntityIndex.load(folder)
    index.lexicon.learn([Mention("零蛋", 0, 2, ("0",))])
    index.save(folder)
    opened = EntityIndex.load(folder)
    assert opened.is_current
    finish(start(ADD, folder, "a", 1))
    assert not opened.is_current
    assert opened.lexicon.learned.exact("零蛋").tolist() == [0]


def test_second_writer_is_told_how_to_wait(tmp_path: Path) -> None:
    with (
        lock_folder(tmp_path / "index"),
        pytest.raises(InputError, match="--wait SECONDS"),
        lock_folder(tmp_path / "index", 0.1),
    ):
        pass
    with lock_folder(tmp_path / "index"):
        pass


@pytest.mark.parametrize(
    "command",
    [
        ["index", "{kb}", "--model", "{model}", "--out", "{index}", "--overwrite"],
        ["index", "{kb}", "--add", "--out", "{index}"],
        ["index", "--remove", "roc", "--out", "{index}"],
        ["index", "--learn-names", "{mentions}", "--out", "{index}"],
        ["evaluate", "{mentions}", "--index", "{index}", "--fit-nil", "--retrieval", "hybrid"],
        ["evaluate", "{mentions}", "--index", "{index}", "--fit-fusion", "--retrieval", "hybrid"],
    ],
)
def test_every_command_that_changes_an_index_takes_the_lock(
    command: list[str],
    index_folder: Path,
    kb_file: Path,
    mentions_file: Path,
    model_folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    paths = {"index": index_folder, "kb": kb_file, "mentions": mentions_file, "model": model_folder}
    with FileLock(index_folder.with_name(f".{index_folder.name}.lock")):
        assert main([part.format(**paths) for part in command]) == 1
    assert "is being changed by another process" in capsys.readouterr().err
