"""A process that is killed after any single step of saving: nothing lost, nothing between, nothing left over."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from modelscope_plugin.retrieval import EntityIndex, Fitted
from modelscope_plugin.retrieval.fusion import Fusion

pytestmark = pytest.mark.process

# Changes an index in children of its own, which are quickly made. The first kills itself at the first step in the file
# system, the next one at the second, and so on, until one comes to the end. Writes the status of each.
PROGRAM = """
import json, os, signal, sys
from pathlib import Path
import numpy as np
from modelscope_plugin.data.records import Entity
from modelscope_plugin.retrieval import EntityIndex, Fitted
from modelscope_plugin.retrieval.fusion import Fusion
from modelscope_plugin.storage.locks import lock_folder

root, change = Path(sys.argv[1]), sys.argv[2]
STEPS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "shutil.rmtree", "os.scandir"}
steps_left = None

def die_at(event, arguments):
    global steps_left
    if steps_left is not None and event in STEPS:
        if not steps_left:
            os.kill(os.getpid(), signal.SIGKILL)
        steps_left -= 1

sys.addaudithook(die_at)

def change_index(folder, last):
    global steps_left
    index = EntityIndex.load(folder)
    index.lexicon.names
    steps_left = last
    with lock_folder(folder):
        if change == "add":
            index.add([Entity("new", "新")], np.ones((1, 4), np.float32))
            index.save(folder)
        else:
            index.fitted = Fitted(Fusion(names=0.3))
            index.save_fitted(folder)
    steps_left = None

original = EntityIndex(4, "model")
original.add([Entity("old", "旧")], np.ones((1, 4), np.float32))
statuses = [-signal.SIGKILL]
while statuses[-1] == -signal.SIGKILL:
    folder = root / f"{len(statuses) - 1}" / "index"
    original.save(folder)
    child = os.fork()
    if not child:
        try:
            change_index(folder, len(statuses) - 1)
            os._exit(0)
        finally:
            os._exit(1)
    statuses.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print(json.dumps(statuses[1:]))
"""


def state(folder: Path) -> tuple[list[str], Fitted]:
    index = EntityIndex.load(folder, verify=True)
    return index.ids, index.fitted


@pytest.mark.skipif(os.name == "nt", reason="kills are those of POSIX")
@pytest.mark.parametrize("change", ["add", "fit"])
def test_kill_at_any_step_leaves_the_earlier_index_or_the_new_one(tmp_path: Path, change: str) -> None:
    command = [sys.executable, "-c", PROGRAM, str(tmp_path), change]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=600)
    *killed, last = json.loads(done.stdout)
    assert len(killed) > 20
    assert {*killed} == {-signal.SIGKILL}
    assert last == 0
    old = ["old"], Fitted()
    new = (["old", "new"], Fitted()) if change == "add" else (["old"], Fitted(Fusion(names=0.3)))
    seen = []
    for step in range(len(killed) + 1):
        folder = tmp_path / f"{step}" / "index"
        seen.append(state(folder))
        # The next writer finds nothing in its way, and cleans up.
        changed = EntityIndex.load(folder)
        changed.save(folder)
        left = {path.name for path in folder.parent.iterdir()} - {"index", ".index.lock"}
        assert (left, state(folder)) == (set(), seen[-1])
        assert not [path.name for path in folder.iterdir() if path.name.startswith(".")]
    assert seen == sorted(seen, key=[old, new].index)
    assert (seen[0], seen[-1]) == (old, new)
