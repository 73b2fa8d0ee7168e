"""A process that is killed after any single step of saving: nothing lost, nothing between, nothing left over."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from modelscope_plugin.data.records import Entity
from modelscope_plugin.retrieval import EntityIndex, Fitted
from modelscope_plugin.retrieval.fusion import Fusion

pytestmark = pytest.mark.process

# Counts the steps in the file system and kills itself at one of them.
PROGRAM = """
import os, signal, sys
import numpy as np
from modelscope_plugin.data.records import Entity
from modelscope_plugin.retrieval import EntityIndex, Fitted
from modelscope_plugin.retrieval.fusion import Fusion
from modelscope_plugin.storage.locks import lock_folder

folder, change, last = sys.argv[1], sys.argv[2], int(sys.argv[3])
STEPS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "shutil.rmtree", "os.scandir"}
count = 0

def die_at(event, arguments):
    global count
    if is_armed and event in STEPS:
        count += 1
        if count > last:
            os.kill(os.getpid(), signal.SIGKILL)

is_armed = False
sys.addaudithook(die_at)
index = EntityIndex.load(folder)
index.lexicon.names
is_armed = True
from pathlib import Path
with lock_folder(Path(folder)):
    if change == "add":
        index.add([Entity("new", "新")], np.ones((1, 4), np.float32))
        index.save(folder)
    else:
        index.fitted = Fitted(Fusion(names=0.3))
        index.save_fitted(folder)
is_armed = False
"""


def state(folder: Path) -> tuple[list[str], Fitted]:
    index = EntityIndex.load(folder, verify=True)
    return index.ids, index.fitted


@pytest.mark.skipif(os.name == "nt", reason="kills are those of POSIX")
@pytest.mark.parametrize(("change", "stride"), [("add", 7), ("fit", 3)])
def test_kill_at_any_step_leaves_the_earlier_index_or_the_new_one(tmp_path: Path, change: str, stride: int) -> None:
    # Each kill takes seconds: some steps are enough here, all of them are tried by hand with ENTITY_KILL_EACH_STEP=1.
    stride = 1 if os.environ.get("ENTITY_KILL_EACH_STEP") else stride
    index = EntityIndex(4, "model")
    index.add([Entity("old", "旧")], np.ones((1, 4), np.float32))
    old = ["old"], Fitted()
    new = (["old", "new"], Fitted()) if change == "add" else (["old"], Fitted(Fusion(names=0.3)))
    seen, status, step = [], -signal.SIGKILL, 0
    while status == -signal.SIGKILL:
        folder = tmp_path / f"{step}" / "index"
        index.save(folder)
        status = subprocess.run([sys.executable, "-c", PROGRAM, folder, change, f"{step}"], check=False).returncode
        seen.append(state(folder))
        # The next writer finds nothing in its way, and cleans up.
        changed = EntityIndex.load(folder)
        changed.save(folder)
        left = {path.name for path in folder.parent.iterdir()} - {"index", ".index.lock"}
        assert (left, state(folder)) == (set(), seen[-1])
        assert not [path.name for path in folder.iterdir() if path.name.startswith(".")]
        step += 1 if step < 2 else stride
    assert status == 0
    assert seen == sorted(seen, key=[old, new].index)
    assert (seen[0], seen[-1]) == (old, new)
