"""A signal ends the command with one line and its own status, whatever the process is doing."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")

MARKED = "小品里 [ENT_S] 大鹏 [ENT_E] 很好笑"
STATUSES = {signal.SIGINT: (130, "interrupted"), signal.SIGTERM: (143, "terminated")}
MODULE = (sys.executable, "-m", "modelscope_plugin")
COMMAND = (str(Path(sys.executable).with_name("modelscope")), "entity")
HEAVY = ("numpy", "torch", "transformers", "faiss")


def _start(*arguments: object) -> subprocess.Popen[str]:
    """Start a process as a terminal does, in a group of its own, where SIGINT is not ignored."""
    return subprocess.Popen(
        [*map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip


def _wait(process: subprocess.Popen[str], has_come: Callable[[], bool]) -> None:
    while process.poll() is None and not has_come():
        time.sleep(0.001)


def _catches_sigterm(process: subprocess.Popen[str]) -> bool:
    status = Path(f"/proc/{process.pid}/status").read_text()
    caught = re.search(r"^SigCgt:\s*([0-9a-f]+)", status, re.MULTILINE)
    return caught is not None and bool(int(caught[1], 16) >> (signal.SIGTERM - 1) & 1)


def _assert_ended(process: subprocess.Popen[str], number: signal.Signals) -> None:
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    status, message = STATUSES[number]
    assert (process.returncode, errors.strip().splitlines()[-1:]) == (status, [message]), errors
    assert "Traceback" not in errors


@pytest.mark.process
@pytest.mark.parametrize("seed", range(20))
def test_signal_at_a_random_moment(seed: int, index_folder: Path) -> None:
    chance = random.Random(seed)
    program = MODULE if seed % 4 else COMMAND
    process = _start(*program, "link", "--index", index_folder, *["--text", MARKED] * 2000, "--json")
    _wait(process, lambda: _catches_sigterm(process))
    time.sleep(chance.uniform(0, 2.5))
    assert process.poll() is None
    _assert_ended(process, chance.choice(list(STATUSES)))


@pytest.mark.process
@pytest.mark.parametrize("number", STATUSES)
@pytest.mark.parametrize("library", HEAVY)
def test_signal_inside_the_import_of_a_library(library: str, number: signal.Signals, index_folder: Path) -> None:
    process = _start(
        sys.executable, "-c", _STOP_IN_IMPORT.format(library=library, signal=int(number), index=str(index_folder))
    )
    _, errors = process.communicate(timeout=60)
    status, message = STATUSES[number]
    assert (process.returncode, errors.strip().splitlines()) == (status, [message])


# The signal arrives inside the library, in code that swallows every exception.
_STOP_IN_IMPORT = """
import runpy, signal, sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "{library}":
            sys.meta_path.remove(self)
            try:
                signal.raise_signal({signal})
            except BaseException:
                pass
        return None

sys.meta_path.insert(0, Finder())
sys.argv = ["modelscope_plugin", "link", "--index", {index!r}, "--text", "[ENT_S] 大鹏 [ENT_E]"]
runpy.run_module("modelscope_plugin", run_name="__main__", alter_sys=True)
"""


@pytest.mark.process
def test_signal_during_an_import_in_the_middle_of_the_work_closes_what_is_open(tmp_path: Path) -> None:
    (tmp_path / "swallowing.py").write_text(
        "import signal\ntry:\n    signal.raise_signal(signal.SIGTERM)\nexcept BaseException:\n    pass\n"
    )
    (tmp_path / "work.py").write_text("def load():\n    import swallowing\n")
    code = """
        import argparse, sys, time, work
        from modelscope_plugin.cli import main, signals

        def run(args):
            try:
                work.load()
                time.sleep(30)
            finally:
                print("closed")

        signals.exit_on_signals()
        sys.exit(main.run(argparse.Namespace(run=run)))
    """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=60, check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
    )  # fmt: skip
    assert (result.returncode, result.stdout, result.stderr) == (143, "closed\n", "terminated\n")


@pytest.mark.process
@pytest.mark.parametrize("delay", [2, 5])  # seconds after the start of the processes, which import, load and encode
def test_interrupt_from_a_terminal_ends_all_processes_with_one_line(
    delay: float, model_folder: Path, tmp_path: Path
) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_text("".join(f"第{number}个 [ENT_S] 大鹏 [ENT_E] 很好笑\n" for number in range(200_000)))
    out = tmp_path / "vectors.npy"
    command = ["encode", texts, "--model", model_folder, "--out", out, "--processes", "2", "--device", "cpu"]
    process = _start(*MODULE, *command)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    _wait(process, lambda: len(children.read_text().split()) >= 3)  # with that of multiprocessing itself
    time.sleep(delay)
    pids = children.read_text().split()
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors.splitlines()[-1:]) == (130, ["interrupted"]), errors
    assert "Traceback" not in errors
    assert errors.count("\n") == 1, errors
    _wait(process, lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))
    assert not out.exists()


@pytest.mark.parametrize("module", ["modelscope_plugin", "modelscope_plugin.cli.main", "modelscope_plugin.cli.plugin"])
def test_importing_the_package_installs_no_handler(module: str) -> None:
    code = (
        f"import signal, {module}; assert signal.getsignal(signal.SIGINT) is signal.default_int_handler; "
        "assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL"
    )
    process = _start(sys.executable, "-c", code, "entity")
    assert process.communicate(timeout=60)[1] == ""
    assert process.returncode == 0
