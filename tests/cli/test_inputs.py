"""What commands say about the files that they read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from conftest import MENTIONS, write_mentions

from modelscope_plugin.cli.main import main
from modelscope_plugin.data import Mention
from modelscope_plugin.retrieval import EntityIndex


def _summary(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main([str(argument) for argument in arguments]) == 0
    return capsys.readouterr().err.strip().splitlines()[-1]


def test_index_reads_a_messy_table_and_says_what_it_left_out(
    model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kb = tmp_path / "kb.csv"
    kb.write_bytes("编号;名称;别名;热度\r\n1;董成鹏;大鹏/鹏鹏;9\r\n;;;\r\n2;;;\r\n3;黄山;;1\r\n".encode("gb18030"))
    build = ("index", kb, "--model", model_folder, "--out", tmp_path / "index", "--json", "--encoding", "gb18030")
    summary = _summary(capsys, *build, "--skip-broken", "--alias-separator", "/")
    assert summary == f"read {kb}: 2 entities, 1 broken record left out, unknown fields '热度' not read"
    assert [entity.names for entity in EntityIndex.load(tmp_path / "index")] == [("董成鹏", "大鹏", "鹏鹏"), ("黄山",)]
    assert main([*map(str, build), "--out", str(tmp_path / "other")]) == 1
    assert f"{kb}:4: '名称' is missing" in capsys.readouterr().err


def test_index_says_how_many_names_it_learnt(
    index_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = shutil.copytree(index_folder, tmp_path / "index")
    mentions = [
        Mention("神鸟飞了", 0, 2, ("roc",)),
        Mention("神鸟飞了", 0, 2, ("none",)),
        Mention("无", 0, 1, nil="NIL"),
    ]
    labelled = write_mentions(tmp_path / "labelled.jsonl", mentions)
    said = "learnt 1 new name; passed over: 1 mention without a gold entity, 1 mention of entities that are not in the"
    assert said in _summary(capsys, "index", "--learn-names", labelled, "--out", own)
    assert "learnt 0 new names" in _summary(capsys, "index", "--learn-names", labelled, "--out", own, "--json")


def test_evaluate_mine_and_encode_say_what_they_used(
    index_folder: Path, model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_mentions(tmp_path / "m.jsonl", [*MENTIONS, Mention("大鹏", 0, 2, nil="NIL_Person")])
    read = f"read {file}: 7 mentions in 7 texts"
    summary = _summary(capsys, "evaluate", file, "--index", index_folder, "--json")
    assert summary == f"{read} | measured 6 mentions | left out: 1 NIL mentions"
    summary = _summary(
        capsys, "mine", file, "--index", index_folder, "--out", tmp_path / "n.jsonl", "--num-negatives", 2
    )
    assert summary.startswith(f"{read} | mined for 6 mentions | left out: 1 mentions without a gold entity")
    summary = _summary(capsys, "encode", file, "--model", model_folder, "--out", tmp_path / "v.npy")
    assert summary == f"{read} | encoded 7"


def test_train_says_what_it_used(
    base_folder: Path, kb_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train = write_mentions(tmp_path / "t.jsonl", [*MENTIONS, Mention("大鹏", 0, 2, nil="NIL_Person")])
    options = ("--model", base_folder, "--kb", kb_file, "--train", train, "--out", tmp_path / "model", "--epochs", 1)
    summary = _summary(capsys, "train", *options, "--json")
    assert summary.endswith("| trained on 6 mentions of 6 entities | left out: 1 NIL mentions")
    assert f"{kb_file}: 6 entities" in summary
    assert f"{train}: 7 mentions in 7 texts" in summary


@pytest.mark.parametrize(
    "record", [{"text": "大鹏很好笑"}, {"text": "大鹏很好笑", "entities": [{"start": 0, "end": 2}]}]
)
@pytest.mark.parametrize("command", ["train", "evaluate", "mine", "encode"])
def test_file_without_a_mention_is_an_error(
    record: dict[str, object], command: str, index_folder: Path, model_folder: Path, kb_file: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    file = tmp_path / "texts.jsonl"
    file.write_text(json.dumps(record, ensure_ascii=False) + "\n", encoding="utf-8")
    arguments: dict[str, list[object]] = {
        "train": ["--model", model_folder, "--kb", kb_file, "--train", file, "--out", tmp_path / "out"],
        "evaluate": [file, "--index", index_folder],
        "mine": [file, "--index", index_folder, "--out", tmp_path / "out"],
        "encode": [file, "--model", model_folder, "--out", tmp_path / "out"],
    }
    assert main([command, *map(str, arguments[command])]) == 1
    assert f"{file}: no mention in it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "suggested"),
    [
        (["link", "--index", "i", "--topk", "3"], "--top-k"),
        (["link", "--index", "i", "--nil-treshold=0.5"], "--nil-threshold"),
        (["index", "kb", "--out", "i", "--skip_broken"], "--skip-broken"),
    ],
)
def test_misspelt_option_is_told_the_right_one(
    arguments: list[str], suggested: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 2
    assert f"did you mean {suggested}?" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["link", "a\0b", "--index", "i"],
        ["link", "--text", "x", "--index", "i\0"],
        ["index", "kb", "--model", "\0", "--out", "i"],
        ["index", "--out", "i", "--remove", "a", "b\0"],
        ["evaluate", "m", "--index", "i", "--plot", "a\0.png"],
        ["train", "--model", "m", "--kb", "k\0", "--train", "t", "--out", "o"],
    ],
)
def test_nul_in_a_path_is_one_error(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert "holds a NUL character" in capsys.readouterr().err


def test_sync_does_not_remove_what_is_broken(index_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["index", "kb.jsonl", "--sync", "--skip-broken", "--out", str(index_folder)]) == 2
    assert "mend the records" in capsys.readouterr().err
