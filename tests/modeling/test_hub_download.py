"""Models of the hub by their id, from a stand-in on this machine, each in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hub_stand_in import PRIVATE, Repository, serve_hub, serve_model

pytestmark = pytest.mark.process


def _run(address: str, cache: Path, *command: object) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {
        "MODELSCOPE_DOMAIN": address,
        "MODELSCOPE_ENDPOINT": address,
        "MODELSCOPE_CACHE": str(cache),
        "HOME": str(cache),
    }
    return subprocess.run(
        [sys.executable, *map(str, command)], capture_output=True, text=True, timeout=300, env=environment, check=False
    )


def test_command_line_downloads_a_model_by_its_id(model_folder: Path, kb_file: Path, tmp_path: Path) -> None:
    with serve_model(model_folder, "owner/name") as address:
        arguments = ["index", kb_file, "--model", "owner/name", "--out", tmp_path / "index", "--device", "cpu"]
        result = _run(address, tmp_path / "cache", "-m", "modelscope_plugin", *arguments)
    assert result.returncode == 0, result.stderr
    assert "model owner/name" in result.stdout


@pytest.mark.parametrize("kind", ["ours", "builtin"])
def test_pipeline_downloads_a_model_by_its_id(
    model_folder: Path, builtin_folder: Path, tmp_path: Path, kind: str
) -> None:
    code = """
import modelscope_plugin
from modelscope.pipelines import pipeline
pipe = pipeline('sentence-embedding', model='owner/name', device='cpu')
print(pipe({'source_sentence': ['大鹏']})['text_embedding'].shape)
"""
    with serve_model(model_folder if kind == "ours" else builtin_folder, "owner/name") as address:
        result = _run(address, tmp_path / "cache", "-c", code)
    assert result.returncode == 0, result.stderr[-2000:]
    assert result.stdout.strip().endswith("(1, 64)")


def test_id_that_the_hub_does_not_know_is_one_line(model_folder: Path, kb_file: Path, tmp_path: Path) -> None:
    with serve_model(model_folder, "owner/name") as address:
        arguments = ["index", kb_file, "--model", "owner/other", "--out", tmp_path / "index"]
        result = _run(address, tmp_path / "cache", "-m", "modelscope_plugin", *arguments)
    assert result.returncode == 1
    assert "the hub does not give a model of that id" in result.stderr
    assert "Traceback" not in result.stderr


def test_training_from_a_model_of_the_hub_records_its_id(
    model_folder: Path, kb_file: Path, mentions_file: Path, tmp_path: Path
) -> None:
    with serve_model(model_folder, "owner/name") as address:
        arguments = ["train", "--model", "owner/name", "--kb", kb_file, "--train", mentions_file, "--epochs", "1"]
        result = _run(address, tmp_path / "cache", "-m", "modelscope_plugin", *arguments, "--out", tmp_path / "out")
    assert result.returncode == 0, result.stderr
    assert json.loads((tmp_path / "out" / "training.json").read_text())["base_model"] == "owner/name"


LOAD = """
import sys
from modelscope_plugin.modeling.location import resolve_model
try:
    print(resolve_model(sys.argv[1]))
except Exception as error:
    print(type(error).__name__, error)
"""


def test_a_model_that_was_downloaded_before_needs_no_network(model_folder: Path, tmp_path: Path) -> None:
    with serve_model(model_folder, "owner/name") as address:
        first = _run(address, tmp_path, "-c", LOAD, "owner/name")
    again = _run(address, tmp_path, "-c", LOAD, "owner/name")  # nobody listens there any more
    assert Path(first.stdout.strip().splitlines()[-1], "config.json").is_file(), first.stderr
    assert again.stdout.strip().splitlines()[-1] == first.stdout.strip().splitlines()[-1]
    assert "is taken from the cache" in again.stderr


def test_without_network_and_cache_the_network_is_named(tmp_path: Path) -> None:
    result = _run("http://127.0.0.1:9", tmp_path, "-c", LOAD, "owner/name")
    assert result.stdout.startswith("MissingFileError no folder owner/name, the hub cannot be reached"), result.stderr


@pytest.mark.parametrize("name", ["../../evil.txt", "/{}/evil.txt", "a/../../../evil.txt", "..\\evil.txt"])
def test_a_file_list_that_leaves_the_model_is_refused(model_folder: Path, tmp_path: Path, name: str) -> None:
    with serve_hub() as hub:
        files = {"config.json": b"{}", name.replace("{}", str(tmp_path)): b"evil"}
        hub.models["owner/name"] = Repository(branches={"master": files})
        result = _run(hub.address, tmp_path / "cache", "-c", LOAD, "owner/name")
    assert result.stdout.strip().splitlines()[-1].startswith("ModelFolderError the hub lists a file outside"), result
    assert not list(tmp_path.rglob("*evil*"))


def test_what_the_hub_answers_is_not_printed(model_folder: Path, tmp_path: Path) -> None:
    with serve_hub("secret-token") as hub:
        hub.models["owner/name"] = Repository(visibility=PRIVATE)
        result = _run(hub.address, tmp_path, "-c", LOAD, "owner/name")
    assert "does not give a model of that id" in result.stdout
    assert "secret-token" not in result.stdout + result.stderr
    assert "model does not exist" not in result.stdout
