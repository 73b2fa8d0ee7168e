from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from small_training import command_options, weights_of

from modelscope_plugin.cli.main import main

# Starting processes takes longer than training in them, so both trainings share theirs. A second group of the same
# processes needs a meeting point of its own.
SCRIPT = """
import json, os, sys
from modelscope_plugin.cli.main import main
first, second = json.loads(sys.argv[1])
assert main(first) == 0
os.environ.update(MASTER_PORT=sys.argv[2], TORCHELASTIC_USE_AGENT_STORE="False")
assert main(second) == 0
"""
VIEWS = (1, 3)


def _arguments(base: Path, folder: Path, name: str, views: int, batch: int, random: int, mini_batch: int) -> list[str]:
    options = command_options(
        base, folder, epochs=2, stages=2, towers=2, views=views, batch_size=batch, random_negatives=random,
        mini_batch_size=mini_batch,
    )  # fmt: skip
    return ["train", *options, "--out", str(folder / f"{name}-{views}")]


@pytest.fixture(scope="module")
def two_processes(base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the models that two processes have trained."""
    folder = tmp_path_factory.mktemp("two")
    (folder / "script.py").write_text(SCRIPT, encoding="utf-8")
    runs = [_arguments(base_folder, folder, "two", views, 5, 2, 3) for views in VIEWS]
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [*command, str(folder / "script.py"), json.dumps(runs), str(port)],
        capture_output=True, text=True, timeout=300, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("the model is in") == len(VIEWS)
    return folder


@pytest.mark.process
@pytest.mark.parametrize("views", VIEWS)
def test_two_processes_are_one_with_twice_the_batch(
    base_folder: Path, tmp_path: Path, two_processes: Path, views: int
) -> None:
    # 24 mentions in batches of 10: the last batch is smaller, and its shares are uneven.
    assert main(_arguments(base_folder, tmp_path, "one", views, 10, 4, 32)) == 0
    expected = weights_of(tmp_path / f"one-{views}")
    start = load_file(base_folder / "model.safetensors")
    moved = max((start[name] - value).abs().max().item() for name, value in expected.items() if name in start)
    assert moved > 5e-3
    for name, value in weights_of(two_processes / f"two-{views}").items():
        torch.testing.assert_close(value, expected[name], atol=2e-4, rtol=0)
