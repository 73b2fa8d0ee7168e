"""Raw text in, linked entities out, measured through the command."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import MENTIONS, write_mentions

from modelscope_plugin.cli.main import main
from modelscope_plugin.data import Mention
from modelscope_plugin.retrieval import EntityIndex


@pytest.fixture
def own(index_folder: Path, tmp_path: Path) -> Path:
    shutil.copytree(index_folder, tmp_path / "index")
    return tmp_path / "index"


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """Every name that stands in them is a mention, but for 苹果 in the last ones."""
    others = [Mention(f"大鹏说第{number}个苹果好吃", 0, 2, ("dapeng",)) for number in range(9)]
    return write_mentions(tmp_path / "texts.jsonl", [*MENTIONS, *others])


def figures(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    assert main(["evaluate", *map(str, arguments), "--json", "--device", "cpu"]) == 0
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def test_mentions_are_found_counted_and_fitted(own: Path, texts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = figures(capsys, texts, "--index", own, "--end-to-end")
    assert (before["mentions"]["correct"], before["mentions"]["predicted"], before["mentions"]["gold"]) == (15, 24, 15)
    assert main(["index", "--count-mentions", str(texts), "--out", str(own)]) == 0
    assert "stand" in capsys.readouterr().err
    after = figures(capsys, texts, "--index", own, "--end-to-end", "--fit-detection", "--train", texts)
    assert after["mentions"]["precision"] == 1.0
    assert after["mentions"]["f1"] > before["mentions"]["f1"]
    assert after["linked"]["gold"] == 15
    assert after["seen"] == after["mentions"]["recall"]
    threshold = EntityIndex.load(own, verify=True).fitted.detection_threshold
    assert threshold is not None
    assert main(["evaluate", str(texts), "--index", str(own), "--end-to-end"]) == 0
    assert "mentions found" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--fit-detection"], "go with --end-to-end"),
        (["--end-to-end", "--detection-precision", "0.9"], "goes with --fit-detection"),
        (["--end-to-end", "--fit-nil"], "does not go with"),
        (["--end-to-end", "--k", "4"], "does not go with"),
    ],
)
def test_options_that_do_not_go_together(
    own: Path, texts: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(texts), "--index", str(own), "--retrieval", "hybrid", *options]) == 2
    assert message in capsys.readouterr().err


def test_texts_without_counts_cannot_be_fitted(own: Path, texts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(texts), "--index", str(own), "--end-to-end", "--fit-detection"]) == 1
    assert "--count-mentions" in capsys.readouterr().err
