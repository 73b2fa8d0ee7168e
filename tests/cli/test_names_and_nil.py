"""Retrieval by names, NIL and detection through the command."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import MENTIONS, write_mentions

from modelscope_plugin.cli.main import main
from modelscope_plugin.data import Mention
from modelscope_plugin.retrieval import EntityIndex, Fitted, Fusion

NIL = [Mention("宋小宝上演", 0, 3, nil="NIL_Person"), Mention("坐船到大江", 3, 5, nil="NIL_Location")]


@pytest.fixture
def own(index_folder: Path, tmp_path: Path) -> Path:
    shutil.copytree(index_folder, tmp_path / "index")
    return tmp_path / "index"


def lines(capsys: pytest.CaptureFixture[str], *arguments: object) -> list[dict[str, Any]]:
    assert main([str(argument) for argument in arguments]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_names_are_learnt_into_an_index(own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labelled = write_mentions(tmp_path / "labelled.jsonl", [Mention("神鸟飞了", 0, 2, ("roc",))])
    lines(capsys, "index", "--learn-names", labelled, "--out", own, "--json")
    text = "看 [ENT_S] 神鸟 [ENT_E] 飞"
    found = lines(capsys, "link", "--index", own, "--text", text, "--retrieval", "lexical", "--json")
    assert [(one["id"], one["match"]) for one in found[0]["mentions"][0]["candidates"]] == [("roc", "learned")]


def test_nil_rule_is_fitted_kept_and_used(own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dev = write_mentions(tmp_path / "dev.jsonl", [*MENTIONS, *NIL])
    options = ("--index", own, "--retrieval", "hybrid", "--k", 1)
    figures = lines(capsys, "evaluate", dev, *options, "--fit-nil", "--nil-precision", 0.9, "--json")[0]
    assert (figures["nil_precision"], figures["nil_recall"], figures["nil_recall_NIL_Person"]) == (1.0, 1.0, 1.0)
    assert EntityIndex.load(own, verify=True).fitted.nil["hybrid"].threshold == figures["nil_threshold"]
    assert main(["evaluate", str(dev), *map(str, options)]) == 0
    output = capsys.readouterr().out
    assert "precision 100.0, recall 100.0" in output
    assert "NIL recall by type: NIL_Location 100.0, NIL_Person 100.0" in output
    linked = lines(capsys, "link", dev, "--index", own, "--json")
    assert [mention["nil"] for document in linked for mention in document["mentions"]] == [False] * 6 + [True] * 2
    assert main(["link", str(dev), "--index", str(own)]) == 0
    assert "[宋小宝]上演 (NIL)" in capsys.readouterr().out


def test_damaged_nil_rule_is_named_and_can_be_fitted_again(
    own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    index = EntityIndex.load(own)
    index.fitted = Fitted.from_record({"nil": {"hybrid": {"retrieval": "hybrid", "dense": "2"}}})
    index.save_fitted(own)
    dev = write_mentions(tmp_path / "dev.jsonl", [*MENTIONS, *NIL])
    assert main(["link", str(dev), "--index", str(own)]) == 1
    assert "fitted.nil.hybrid in the manifest.json" in capsys.readouterr().err
    lines(capsys, "evaluate", dev, "--index", own, "--retrieval", "hybrid", "--fit-nil", "--json")
    assert [document["mentions"][0]["nil"] for document in lines(capsys, "link", dev, "--index", own, "--json")][-1]


def test_weights_are_fitted_and_kept(own: Path, mentions_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines(capsys, "evaluate", mentions_file, "--index", own, "--retrieval", "hybrid", "--fit-fusion", "--json")
    assert EntityIndex.load(own).fitted.get_fusion() == Fusion()


def test_mentions_are_detected_in_plain_text(
    index_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_text("小品里大鹏很好笑\n[ENT_S] 小品 [ENT_E] 里大鹏很好笑\n无\n", encoding="utf-8")
    linked = lines(capsys, "link", texts, "--index", index_folder, "--detect", "--json")
    assert [[mention["mention"] for mention in document["mentions"]] for document in linked] == [["大鹏"], ["小品"], []]
    records = tmp_path / "records.jsonl"
    records.write_text('{"text": "小品里大鹏很好笑", "mentions": []}\n{"text": "小品里大鹏很好笑"}\n', encoding="utf-8")
    linked = lines(capsys, "link", records, "--index", index_folder, "--detect", "--json")
    assert [len(document["mentions"]) for document in linked] == [0, 1]


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["evaluate", "dev", "--kb", "kb", "--model", "m", "--fit-nil"], 2, "need --index"),
        (["evaluate", "dev", "--index", "{index}", "--nil-precision", "0.9"], 2, "goes with --fit-nil"),
        (["link", "--text", "[ENT_S] 大鹏 [ENT_E]", "--index", "{index}", "--nil-threshold", "0.5"], 1, "--fit-nil"),
    ],
)
def test_options_that_do_not_go_together_are_named(
    arguments: list[str], status: int, message: str, index_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([argument.format(index=index_folder) for argument in arguments]) == status
    assert message in capsys.readouterr().err
