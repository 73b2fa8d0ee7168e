from __future__ import annotations

import json
from pathlib import Path

import pytest

from modelscope_plugin.cli import demo
from modelscope_plugin.cli.main import main
from modelscope_plugin.retrieval import EntityIndex

pytestmark = pytest.mark.process


def test_demo_trains_links_and_beats_name_matching_at_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--out", str(tmp_path / "demo"), "--device", "cpu", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    recall = result["recall"]
    assert recall["dual encoder"]["1"] > recall["name matching"]["1"]
    assert len(result["linked"]) == 10
    assert len(EntityIndex.load(tmp_path / "demo" / "index")) == result["entities"]


def test_demo_with_a_model_prints_both_tables(
    model_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "_train", lambda *_: pytest.fail("a model was given"))
    assert main(["demo", "--model", str(model_folder), "--device", "cpu"]) == 0
    output = capsys.readouterr().out
    assert all(
        text in output for text in ("Recall@16", "name matching", "dual encoder", "names first", "second", "Done in")
    )
