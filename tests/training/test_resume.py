from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from small_training import command_options, weights_of

from modelscope_plugin.cli.main import main


def _kill_at_first_checkpoint(arguments: list[str], checkpoint: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "modelscope_plugin", *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while not checkpoint.exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert checkpoint.exists()


@pytest.mark.process
def test_killed_run_resumes_to_the_weights_of_one_that_was_not_killed(
    base_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = command_options(
        base_folder, tmp_path, stages=2, epochs=12, batch_size=4, dropout=0.1, save_steps=3, random_negatives=2
    )
    assert main(["train", *options, "--out", str(tmp_path / "whole")]) == 0
    out = tmp_path / "killed"
    killed = ["train", *options, "--out", str(out)]
    for stage in (1, 2):
        folder = tmp_path / "killed.training" / f"checkpoints-{stage}"
        _kill_at_first_checkpoint([*killed, "--resume"], folder / "checkpoint" / "progress.json")
        assert not out.exists()
    assert main(killed) == 1
    assert "--resume" in capsys.readouterr().err
    assert main([*killed, "--resume"]) == 0
    expected = weights_of(tmp_path / "whole")
    assert all(torch.equal(value, expected[name]) for name, value in weights_of(out).items())
    assert not (tmp_path / "killed.training").exists()
