"""``modelscope entity init``."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import write_entities, write_mentions

from modelscope_plugin.cli.main import main


def test_from_nothing_to_a_trained_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kb, mentions = str(write_entities(tmp_path / "kb.jsonl")), str(write_mentions(tmp_path / "train.jsonl"))
    base, model = str(tmp_path / "base"), str(tmp_path / "model")
    assert main(["init", base, "--kb", kb, "--train", mentions, "--max-length", "32"]) == 0
    command = capsys.readouterr().out.strip().splitlines()[-1].split()
    assert command[:3] == ["modelscope", "entity", "train"]
    assert main([*command[2:-1], model, "--epochs", "1", "--device", "cpu"]) == 0
    assert main(["evaluate", mentions, "--kb", kb, "--model", model, "--device", "cpu"]) == 0


@pytest.mark.parametrize("content", ["file", "folder"])
def test_nothing_is_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str) -> None:
    base = tmp_path / "base"
    if content == "folder":
        base.mkdir()
    mine = base / "diary.txt" if content == "folder" else base
    mine.write_text("mine")
    assert main(["init", str(base), "--kb", str(write_entities(tmp_path / "kb.jsonl"))]) == 1
    assert "is there already" in capsys.readouterr().err
    assert mine.read_text() == "mine"


def test_a_missing_model_names_both_ways_to_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kb = str(write_entities(tmp_path / "kb.jsonl"))
    assert main(["index", kb, "--model", str(tmp_path / "none"), "--out", str(tmp_path / "index")]) == 1
    message = capsys.readouterr().err
    assert "modelscope entity init" in message
    assert "damo/nlp_bert_entity-embedding_chinese-base" in message
