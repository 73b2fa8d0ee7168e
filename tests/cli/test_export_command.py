from __future__ import annotations

import json
from pathlib import Path

import pytest

from modelscope_plugin.cli.main import main
from modelscope_plugin.publishing.export.export_model import export_model


def test_export_lists_the_files(model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "--model", str(model_folder), "--out", str(tmp_path / "out")]) == 0
    output = capsys.readouterr().out
    assert "  README.md\n" in output
    assert f"{tmp_path / 'out'}: " in output
    assert "the card says nothing about its training" in output


def test_export_prints_json(model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    arguments = ["--language", "en", "--license", "mit", "--name", "owner/demo", "--json"]
    assert main(["export", "--model", str(model_folder), "--out", str(out), *arguments]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["folder"], record["name"], record["trained"]) == (str(out), "owner/demo", False)
    assert record["files"]["README.md"] == (out / "README.md").stat().st_size
    card = (out / "README.md").read_text(encoding="utf-8")
    assert "# owner/demo\n" in card
    assert "## How to use it" in card


def test_export_is_chinese_by_default(model_folder: Path, tmp_path: Path) -> None:
    assert main(["export", "--model", str(model_folder), "--out", str(tmp_path / "demo")]) == 0
    card = (tmp_path / "demo" / "README.md").read_text(encoding="utf-8")
    assert "# demo\n" in card
    assert "## 怎么用" in card


@pytest.mark.parametrize(
    ("model", "out", "message"),
    [
        ("{model}", "{model}", "holds the model to export"),
        ("{tmp}/none", "{tmp}/out", "there is no model folder"),
        ("{model}", "{tmp}", "holds other files (mine.txt, for one)"),
    ],
)
def test_export_fails_with_one_line(
    model: str, out: str, message: str, model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    arguments = [text.format(model=model_folder, tmp=tmp_path) for text in ("--model", model, "--out", out)]
    assert main(["export", *arguments]) == 1
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1
    assert message in error[0]


def test_unknown_language_exits_with_2(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as raised:
        main(["export", "--model", "m", "--out", str(tmp_path), "--language", "fr"])
    assert raised.value.code == 2


def test_exported_folder_links(
    model_folder: Path, kb_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export_model(model_folder, tmp_path / "demo")
    assert main(["index", str(kb_file), "--model", str(tmp_path / "demo"), "--out", str(tmp_path / "index")]) == 0
    text = "小品里 [ENT_S] 大鹏 [ENT_E] 很好笑"
    assert main(["link", "--index", str(tmp_path / "index"), "--text", text, "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["mentions"][0]["candidates"]


def test_figures_of_evaluate_go_into_the_card(
    model_folder: Path, kb_file: Path, mentions_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--kb", str(kb_file), "--model", str(model_folder), "--k", "1", "4", "--json"]
    assert main(["evaluate", str(mentions_file), *arguments]) == 0
    figures = tmp_path / "figures.json"
    figures.write_text(capsys.readouterr().out, encoding="utf-8")
    measured = json.loads(figures.read_text(encoding="utf-8"))
    options = ["--evaluation", str(figures), "--language", "en"]
    assert main(["export", "--model", str(model_folder), "--out", str(tmp_path / "demo"), *options]) == 0
    card = (tmp_path / "demo" / "README.md").read_text(encoding="utf-8")
    assert "Measured with `modelscope entity evaluate` over the whole knowledge base (6 entities)" in card
    assert f"| all | 6 | {100 * measured['recall@1']:.1f} | {100 * measured['recall@4']:.1f} |" in card
    assert json.loads((tmp_path / "demo" / "evaluation.json").read_text(encoding="utf-8")) == measured
    assert "no recall was recorded" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"fingerprint": "of another"}, "was not measured with this model"), ({"mentions": None}, "holds no recall")],
)
def test_figures_of_something_else_are_refused(
    changes: dict[str, object], message: str, model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fingerprint = export_model(model_folder, tmp_path / "first").fingerprint
    figures = {"recall@1": 0.5, "mentions": 4, "entities": 9, "fingerprint": fingerprint} | changes
    given = {key: value for key, value in figures.items() if value is not None}
    (tmp_path / "figures.json").write_text(json.dumps(given), encoding="utf-8")
    arguments = ["--evaluation", str(tmp_path / "figures.json"), "--out", str(tmp_path / "out")]
    assert main(["export", "--model", str(model_folder), *arguments]) == 1
    assert message in capsys.readouterr().err
