"""``modelscope server`` with a folder of this machine: as a real process over HTTP, and its pipeline in this one."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from modelscope.pipelines import pipeline
from modelscope.utils.input_output import create_pipeline

from modelscope_plugin.config.configuration import default_configuration
from modelscope_plugin.modelscope_adapter.pipelines.sentence_embedding import EntityEmbeddingPipeline

pytestmark = pytest.mark.process

CARD_INPUT = {
    "source_sentence": ["宋小宝小品《美人鱼》， [ENT_S] 大鹏 [ENT_E] 上演生死离别，关键时刻美人鱼登场"],
    "sentences_to_compare": [
        "董成鹏； 类型： Person； 别名： Da Peng， 大鹏;",
        "鲲鹏； 类型： VirtualThings; 庄子笔下的神鸟",
    ],
}
# Whatever proxy the environment names, this machine is asked directly.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def _call(address: str, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(f"{address}/call", json.dumps(body).encode(), {"Content-Type": "application/json"})
    with _opener.open(request, timeout=60) as answer:
        return json.load(answer)


@pytest.fixture(scope="module")
def address(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The server as users start it, listening on this machine only."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = Path(sys.executable).with_name("modelscope")
    log = tmp_path_factory.mktemp("server") / "log"
    options = ["--revision", "master", "--host", "127.0.0.1", "--port", str(port)]
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, command, "server", "--model_id", model_folder, *options], stdout=output, stderr=output
        )
    try:
        _wait_until_it_answers(process, f"http://127.0.0.1:{port}", log)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=60)


def _wait_until_it_answers(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    for _ in range(600):
        assert process.poll() is None, log.read_text()[-3000:]
        try:
            with _opener.open(f"{address}/health", timeout=10):
                return
        except OSError:
            time.sleep(0.2)
    pytest.fail(log.read_text()[-3000:])


def test_server_answers_the_input_of_the_card(address: str, model_folder: Path) -> None:
    expected = pipeline("sentence-embedding", model=str(model_folder), device="cpu")(CARD_INPUT)
    answer = _call(address, {"input": CARD_INPUT})
    np.testing.assert_allclose(answer["text_embedding"], expected["text_embedding"], atol=1e-5)
    np.testing.assert_allclose(answer["scores"], expected["scores"], atol=1e-4)


def test_server_passes_parameters_to_the_call(address: str) -> None:
    two = {"source_sentence": ["大鹏", "长江"], "sentences_to_compare": ["苹果", "长江", "大鹏"]}
    answer = _call(address, {"input": two, "parameters": {"batch_size": 1}})
    assert np.shape(answer["scores"]) == (2, 3)


def test_server_goes_on_after_an_input_that_is_wrong(address: str) -> None:
    with pytest.raises(urllib.error.HTTPError):
        _call(address, {"input": {"source_sentence": [3]}})
    assert np.shape(_call(address, {"input": {"source_sentence": ["大鹏"]}})["text_embedding"]) == (1, 64)


def test_a_relative_folder_is_a_folder_too(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(model_folder.parent)
    assert isinstance(create_pipeline(model_folder.name, "master"), EntityEmbeddingPipeline)


def test_folder_with_code_of_its_own_is_refused(tmp_path: Path) -> None:
    # The server has no flag for trust, so a folder that asks for it cannot be served.
    configuration = default_configuration() | {"allow_remote": True}
    (tmp_path / "configuration.json").write_text(json.dumps(configuration))
    with pytest.raises(RuntimeError, match="trust_remote_code"):
        create_pipeline(str(tmp_path), "master")
