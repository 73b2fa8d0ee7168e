"""Commands that are killed at a single file operation: the result is the old one or the new one, and nothing stays.

Some operations are enough here; ENTITY_KILL_EACH_STEP=1 kills at every one.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import MENTIONS, write_entities, write_mentions

from modelscope_plugin.data import Entity, Mention
from modelscope_plugin.retrieval import EntityIndex
from modelscope_plugin.storage.digests import file_sha256
from modelscope_plugin.storage.inventory import list_files

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="kills are those of POSIX"),
]

# Each line of input is a number and a command. A child, with all libraries loaded, runs the command and kills itself
# at the operation of that number that changes something below the folder; none for -1.
PROGRAM = """
import json, os, signal, sys
from modelscope_plugin.cli.main import main
import modelscope_plugin.encoding, modelscope_plugin.evaluation.fitting.fit_nil, modelscope_plugin.linking.linker
import modelscope_plugin.encoding.bulk.local, modelscope_plugin.publishing.export.export_model

work = os.path.realpath(sys.argv[1])
CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "os.truncate"}
count = 0

def die_at(event, arguments):
    global count
    if last < 0 or not (event in CHANGES or event == "open" and (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR)):
        return
    path = arguments[0]
    if isinstance(path, (str, bytes, os.PathLike)) and os.path.realpath(os.fsdecode(path)).startswith(work):
        if count == last:
            os.kill(os.getpid(), signal.SIGKILL)
        count += 1

last = -1
sys.addaudithook(die_at)
for line in sys.stdin:
    number, command = json.loads(line)
    child = os.fork()
    if not child:
        os.dup2(2, 1)
        last = number
        status = main(command)
        last = -1
        os._exit(status)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Runner:
    """Runs commands in children of one process that has loaded the libraries."""

    def __init__(self, work: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(work)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip

    def run(self, command: list[str], number: int = -1) -> int:
        """Run a command, killed at an operation; its exit status."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps([number, command]), file=self._process.stdin, flush=True)
        return int(self._process.stdout.readline())

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def runner(work: Path) -> Iterator[Runner]:
    runner = Runner(work)
    yield runner
    runner.close()


def index_state(path: Path) -> Any:
    index = EntityIndex.load(path, verify=True)
    return sorted(index.ids), sorted(index.lexicon.learned_pairs()), sorted(index.fitted.names)


def folder_state(path: Path) -> Any:
    return {name: file_sha256(path / name) for name in list_files(path)}


LEARNT = Mention("庄子的神鸟飞", 3, 5, ("roc",))
NIL = Mention("大鹏证券倒闭了", 0, 2, (), "NIL")
COMMANDS: dict[str, tuple[str, list[str], list[str], Callable[[Path], Any]]] = {
    "add": ("index", ["index", "{work}/new.jsonl", "--add", "--out", "{out}"], [], index_state),
    "remove": (
        "index",
        ["index", "--remove", "dapeng", "--out", "{out}"],
        ["index", "--remove", "river", "--out", "{out}"],
        index_state,
    ),
    "learn": ("index", ["index", "--learn-names", "{work}/learn.jsonl", "--out", "{out}"], [], index_state),
    "fit": (
        "index",
        ["evaluate", "{work}/nil.jsonl", "--index", "{out}", "--fit-nil", "--retrieval", "lexical", "--device", "cpu"],
        [],
        index_state,
    ),
    "export": ("export", ["export", "--model", "{model}", "--out", "{out}", "--language", "en"], [], folder_state),
    "encode": (
        "vectors.npy",
        ["encode", "{work}/nil.jsonl", "--model", "{model}", "--out", "{out}", "--device", "cpu"],
        [],
        file_sha256,
    ),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_kill_leaves_the_earlier_result_or_the_new_one(
    name: str, runner: Runner, work: Path, index_folder: Path, model_folder: Path
) -> None:
    target, command, again, read_state = COMMANDS[name]
    write_entities(work / "new.jsonl", [Entity("new", "新", ("新名",))])
    write_mentions(work / "learn.jsonl", [LEARNT])
    write_mentions(work / "nil.jsonl", [*MENTIONS, NIL])
    old_folder = work / name
    old_folder.mkdir()
    if target == "index":
        shutil.copytree(index_folder, old_folder / target)
    elif target == "export":
        assert runner.run(["export", "--model", str(model_folder), "--out", str(old_folder / target)]) == 0
    else:
        (old_folder / target).write_bytes(b"earlier")
    old = read_state(old_folder / target)
    seen, status, number = [], -signal.SIGKILL, 0
    stride = 1 if os.environ.get("ENTITY_KILL_EACH_STEP") else 6
    while status == -signal.SIGKILL:
        folder = work / "run"
        shutil.copytree(old_folder, folder)
        filled, repeated = (
            [part.format(out=folder / target, work=work, model=model_folder) for part in one]
            for one in (command, again or command)
        )
        status = runner.run(filled, number)
        assert status in (0, -signal.SIGKILL)
        if target == "index":
            read_state(folder / target)  # a reader brings back what was renamed aside
        elif not (folder / target).exists():
            assert runner.run(filled) == 0
        seen.append(read_state(folder / target))
        # The next run finds nothing in its way and cleans up.
        assert runner.run(repeated) == 0, number
        left = {path.name for path in folder.rglob("*") if path.name.startswith(".") or path.name.endswith(".shards")}
        assert left <= {f".{target}.lock"}, number
        shutil.rmtree(folder)
        number += stride
    new = seen[-1]
    assert new != old
    assert [state for state in seen if state not in (old, new)] == []
    print(f"{name}: killed at {len(seen) - 1} operations, {seen.count(old)} kept the earlier result")
