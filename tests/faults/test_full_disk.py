"""A full disk: one line that names file and cause, and the earlier state whole.

A limit of the size of files stands in for the disk: what is written beyond it fails as it would there.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from modelscope_plugin.data.records import Entity
from modelscope_plugin.retrieval import EntityIndex

pytestmark = pytest.mark.process

PROGRAM = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from modelscope_plugin.cli.main import main
import modelscope_plugin.retrieval.entity_index
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
sys.exit(main(sys.argv[2:]))
"""


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is that of Linux")
@pytest.mark.parametrize("limit", [0, 500, 20_000, 60_000])
def test_change_that_does_not_fit_leaves_the_earlier_index(tmp_path: Path, limit: int) -> None:
    index = EntityIndex(64, "model")
    entities = [Entity(f"q{row}", f"名{row}") for row in range(400)]
    index.add(entities, np.random.default_rng(0).normal(size=(400, 64)).astype(np.float32))
    index.save(tmp_path / "index")
    before = content(tmp_path / "index")
    command = [sys.executable, "-c", PROGRAM, str(limit), "index", "--remove", "q3", "--out", str(tmp_path / "index")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert (len(done.stderr.splitlines()), "index: File too large" in done.stderr) == (1, True), done.stderr
    assert content(tmp_path / "index") == before
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(("part", "earlier"))]


# In a mount namespace of its own: a small file system with the index in it; what is there afterwards is printed.
ON_SMALL_DISK = """
set -e
mount -t tmpfs -o size="$4" none "$1"
cp -r "$2" "$1/index"
set +e
"$3" -m modelscope_plugin index --remove q3 --out "$1/index"
echo status $?
diff -r "$2" "$1/index" && ls -A "$1"
"""


def can_mount() -> bool:
    """True where this user may mount a file system in a namespace."""
    command = ["unshare", "-rm", "sh", "-c", "mount -t tmpfs none /mnt"]
    return bool(shutil.which("unshare")) and not subprocess.run(command, capture_output=True, check=False).returncode


@pytest.mark.skipif(not can_mount(), reason="needs unshare and the right to mount")
def test_full_file_system_leaves_the_earlier_index(tmp_path: Path) -> None:
    index = EntityIndex(64, "model")
    entities = [Entity(f"q{row}", f"名{row}") for row in range(400)]
    index.add(entities, np.random.default_rng(0).normal(size=(400, 64)).astype(np.float32))
    index.save(tmp_path / "index")
    (tmp_path / "disk").mkdir()
    # Room for the index, rounded up to pages, and half of another one.
    size = 1.5 * sum(-(-path.stat().st_size // 4096) * 4096 for path in (tmp_path / "index").iterdir())
    arguments = [tmp_path / "disk", tmp_path / "index", sys.executable, int(size)]
    command = list(map(str, ["unshare", "-rm", "sh", "-c", ON_SMALL_DISK, "sh", *arguments]))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.split("\n") == ["status 1", ".index.lock", "index", ""], done.stderr
    assert done.stderr.startswith("error: ")
    assert (len(done.stderr.splitlines()), "index: No space left on device" in done.stderr) == (1, True), done.stderr
