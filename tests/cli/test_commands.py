"""The command line as a real process, and in this process where only the output matters."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import MENTIONS, write_entities, write_mentions

from modelscope_plugin import __version__
from modelscope_plugin.cli.arguments import ArgumentParser
from modelscope_plugin.cli.main import add_commands, main
from modelscope_plugin.data import Entity, Mention, read_mentions
from modelscope_plugin.encoding.bulk.local import LocalBulkEncoder
from modelscope_plugin.retrieval import EntityIndex

MARKED = "小品里 [ENT_S] 大鹏 [ENT_E] 很好笑"


def _process(*arguments: object, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "modelscope_plugin", *map(str, arguments)],
        capture_output=True, text=True, input=stdin, timeout=300, check=False,
    )  # fmt: skip


def _json(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
    assert main([*map(str, arguments)]) == 0
    lines = capsys.readouterr().out.strip().splitlines()
    return json.loads(lines[0]) if len(lines) == 1 else [json.loads(line) for line in lines]


@pytest.mark.process
def test_help_imports_nothing_heavy() -> None:
    code = """
import sys
from modelscope_plugin.cli.main import main
try:
    main(['--help'])
except SystemExit as exit:
    assert exit.code == 0
heavy = {'torch', 'transformers', 'modelscope', 'numpy', 'faiss', 'tqdm', 'filelock'}
print(sorted(heavy & sys.modules.keys()))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert result.stdout.strip().endswith("[]")


@pytest.mark.process
def test_modelscope_command_has_the_sub_command() -> None:
    command = Path(sys.executable).with_name("modelscope")
    result = subprocess.run([command, "entity", "--help"], capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0
    assert all(
        name in result.stdout for name in ("demo", "encode", "index", "link", "train", "mine", "evaluate", "export")
    )


@pytest.mark.process
def test_modelscope_command_fails_with_one_line(tmp_path: Path) -> None:
    command = Path(sys.executable).with_name("modelscope")
    result = subprocess.run(
        [command, "entity", "link", "--index", str(tmp_path / "none"), "--text", MARKED],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert result.returncode == 1
    assert result.stderr.strip().splitlines()[-1].startswith("error: there is no index in")
    assert "Traceback" not in result.stderr


@pytest.mark.process
def test_version_is_printed() -> None:
    assert _process("--version").stdout.strip() == f"modelscope_plugin {__version__}"


@pytest.mark.parametrize("arguments", [[], ["fly"], ["index"], ["link", "--top-k", "0", "--index", "x"]])
def test_what_the_parser_refuses_exits_with_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2


def _options() -> list[tuple[str, str]]:
    """Every sub-command with each of its options."""
    parser = ArgumentParser()
    add_commands(parser)
    (commands,) = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return [
        (name, option)
        for name, command in commands.choices.items()
        for action in command._actions
        for option in action.option_strings
        if option.startswith("--")
    ]


@pytest.mark.parametrize(("command", "option"), _options())
def test_misspelt_option_is_told_what_may_be_meant(
    command: str, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    misspelt = f"{option[:-1]}{'y' if option[-1] == 'x' else 'x'}{option[-1]}"
    required = {
        "index": ["--out", "o"], "encode": ["--model", "m"], "train": ["--model", "m", "--kb", "k", "--out", "o"],
        "mine": ["f", "--out", "o"], "evaluate": ["f"], "export": ["--model", "m", "--out", "o"],
        "publish": ["f", "owner/name"], "train-reranker": ["--out", "o"], "init": ["b", "--kb", "k"],
    }  # fmt: skip
    with pytest.raises(SystemExit) as ended:
        main([command, *required.get(command, []), f"{misspelt}=1"])
    assert ended.value.code == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert f"unknown option {misspelt}; did you mean --" in error


@pytest.mark.parametrize(("given", "meant"), [("--topk", "--top-k"), ("--batchsize", "--batch-size")])
def test_unknown_option_is_told_what_may_be_meant(given: str, meant: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["link", "--index", "i", given, "3"])
    assert f"unknown option {given}; did you mean {meant}?" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["link", "--zzz"])
    assert capsys.readouterr().err.endswith("unknown option --zzz\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["link", "none.jsonl", "--text", "x", "--index", "i"], "give either file or --text"),
        (["index", "none.jsonl", "--out", "i"], "--model is needed"),
        (["index", "--out", "i"], "nothing to do"),
        (["index", "kb.jsonl", "--remove", "Q1", "--out", "i"], "--remove takes ids alone"),
        (["encode", "--text", "x", "--model", "m"], "say where the vectors go"),
        (["evaluate", "{mentions}", "--kb", "kb.jsonl"], "--model is needed"),
        (["mine", "{mentions}", "--kb", "kb", "--index", "i", "--out", "n"], "give either --index or --kb"),
        (["train", "--model", "{model}", "--kb", "x", "--out", "m"], "--train is needed"),
    ],
)
def test_options_that_do_not_go_together_exit_with_2(
    arguments: list[str], message: str, model_folder: Path, mentions_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([argument.format(model=model_folder, mentions=mentions_file) for argument in arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.process
def test_index_then_link_as_processes(model_folder: Path, kb_file: Path, tmp_path: Path) -> None:
    built = _process("index", kb_file, "--model", model_folder, "--out", tmp_path / "index", "--device", "cpu")
    assert built.returncode == 0, built.stderr
    assert "6 entities" in built.stdout
    linked = _process("link", "--index", tmp_path / "index", "--json", "--top-k", 2, stdin=f"{MARKED}\n{MARKED}\n")
    assert linked.returncode == 0, linked.stderr
    documents = [json.loads(line) for line in linked.stdout.splitlines()]
    assert [len(document["mentions"][0]["candidates"]) for document in documents] == [2, 2]
    assert linked.stderr == "read -: 2 mentions in 2 texts\n"


def test_link_text_prints_a_table(index_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["link", "--index", str(index_folder), "--text", MARKED, "--top-k", "1"]) == 0
    output = capsys.readouterr().out
    assert "小品里[大鹏]很好笑" in output
    assert any(
        f"({entity})" in output for entity in ("dapeng", "roc", "apple-inc", "apple-fruit", "apple-film", "river")
    )


def test_link_file_writes_whole_file(index_folder: Path, mentions_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "linked.jsonl"
    assert main(["link", str(mentions_file), "--index", str(index_folder), "--out", str(out)]) == 0
    assert [json.loads(line)["text"] for line in out.read_text(encoding="utf-8").splitlines()] == [
        m.text for m in MENTIONS
    ]


def test_link_keeps_the_earlier_file_when_it_fails(index_folder: Path, tmp_path: Path) -> None:
    broken, out = tmp_path / "broken.jsonl", tmp_path / "linked.jsonl"
    broken.write_text(f'{{"text": "{MARKED}"}}\n{{"text": \n', encoding="utf-8")
    out.write_text("earlier")
    assert main(["link", str(broken), "--index", str(index_folder), "--out", str(out)]) == 1
    assert out.read_text() == "earlier"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken.jsonl", "linked.jsonl"]


def test_index_adds_and_removes(index_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(index_folder, tmp_path / "index")
    more = write_entities(tmp_path / "more.jsonl", [Entity("new", "新"), Entity("river", "长江大河")])
    assert _json(capsys, "index", more, "--add", "--out", tmp_path / "index", "--json")["entities"] == 7
    assert _json(capsys, "index", "--remove", "new", "roc", "--out", tmp_path / "index", "--json")["entities"] == 5
    names = {entity.id: entity.name for entity in EntityIndex.load(tmp_path / "index")}
    assert names["river"] == "长江大河"
    assert "roc" not in names


def test_failed_index_leaves_the_earlier_one(index_folder: Path, model_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(index_folder, tmp_path / "index")
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"id": "a", "name": "甲"}\n{"id": "a", "name": "乙"}\n', encoding="utf-8")
    options = ["--model", str(model_folder), "--out", str(tmp_path / "index"), "--overwrite"]
    assert main(["index", str(bad), *options]) == 1
    assert len(EntityIndex.load(tmp_path / "index", verify=True)) == 6


def test_encode_writes_vectors(model_folder: Path, mentions_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "vectors.npy"
    assert main(["encode", str(mentions_file), "--model", str(model_folder), "--out", str(out)]) == 0
    vectors = np.load(out)
    assert (vectors.shape, vectors.dtype) == ((6, 64), np.float32)


def test_encode_prints_json(model_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(_json(capsys, "encode", "--text", MARKED, "--model", model_folder, "--json")) == 64


def test_train_then_evaluate(
    base_folder: Path, kb_file: Path, mentions_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = _json(
        capsys, "train", "--model", base_folder, "--kb", kb_file, "--train", mentions_file, "--dev", mentions_file,
        "--out", tmp_path / "model", "--epochs", 20, "--batch-size", 6, "--learning-rate", 2e-3, "--pooling", "avg",
        "--temperature", 8, "--k", 1, 2, "--device", "cpu", "--json",
    )  # fmt: skip
    assert trained["evaluation"]["recall@1"] == 1.0
    figures = _json(
        capsys, "evaluate", mentions_file, "--kb", kb_file, "--model", tmp_path / "model", "--k", 1, 2, "--json"
    )
    assert figures["recall@1"] == trained["evaluation"]["recall@1"]


def test_mine_then_train_with_what_it_wrote(
    base_folder: Path, model_folder: Path, index_folder: Path, kb_file: Path, mentions_file: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    negatives = tmp_path / "negatives.jsonl"
    report = _json(
        capsys, "mine", mentions_file, "--index", index_folder, "--out", negatives, "--num-negatives", 2, "--json"
    )
    assert (report["mentions"], report["mentions_by_negatives"]) == (6, {"2": 6})
    assert main(["mine", str(mentions_file), "--kb", str(kb_file), "--model", str(model_folder), "--out",
                 str(negatives), "--num-negatives", "2"]) == 0  # fmt: skip
    output = capsys.readouterr().out
    assert "12 hard negatives for 6 mentions" in output
    assert "mentions by number of negatives: 6 with 2" in output
    trained = _json(
        capsys, "train", "--model", base_folder, "--kb", kb_file, "--train", negatives, "--out", tmp_path / "model",
        "--epochs", 1, "--hard-negatives", 2, "--dropout", "none", "--absolute-margin", "none", "--json",
    )  # fmt: skip
    assert len(trained["losses"]) == 1
    assert json.loads((tmp_path / "model" / "configuration.json").read_text())["train"]["dropout"] is None


def test_setting_that_can_be_null_takes_a_number_or_none(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--model", "m", "--kb", "k", "--out", "o", "--dropout", "half"])
    assert "value='half' must be a number of at least 0 and below 1, or none" in capsys.readouterr().err


def test_mine_does_not_write_over_what_it_reads(
    index_folder: Path, mentions_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = mentions_file.read_bytes()
    assert main(["mine", str(mentions_file), "--index", str(index_folder), "--out", str(mentions_file)]) == 1
    assert "would be written over itself" in capsys.readouterr().err
    assert mentions_file.read_bytes() == before


def test_evaluate_draws_the_curve_and_splits_the_mentions(
    index_folder: Path, mentions_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train = write_mentions(tmp_path / "train.jsonl", MENTIONS[:2])
    picture = tmp_path / "recall.png"
    figures = _json(
        capsys, "evaluate", mentions_file, "--index", index_folder, "--train", train, "--plot", picture, "--json"
    )
    assert (figures["seen_mentions"], figures["unseen_mentions"]) == (2, 4)
    assert (figures["ambiguous_mentions"], figures["unambiguous_mentions"]) == (4, 2)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert main(["evaluate", str(mentions_file), "--index", str(index_folder), "--train", str(train)]) == 0
    assert "the 4 of unseen entities" in capsys.readouterr().out


def test_evaluate_says_before_measuring_that_it_cannot_draw(
    index_folder: Path, mentions_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "recall.jpeg"
    assert main(["evaluate", str(mentions_file), "--index", str(index_folder), "--plot", str(picture)]) == 1
    assert "give a name that ends in .png" in capsys.readouterr().err


def test_evaluate_takes_k_from_the_model(
    model_folder: Path, kb_file: Path, mentions_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(model_folder, tmp_path / "model")
    configuration = json.loads((tmp_path / "model" / "configuration.json").read_text())
    configuration["evaluation"]["metrics"][0]["k"] = [2, 3]
    (tmp_path / "model" / "configuration.json").write_text(json.dumps(configuration))
    figures = _json(capsys, "evaluate", mentions_file, "--kb", kb_file, "--model", tmp_path / "model", "--json")
    assert [key for key in figures if key.startswith("recall@")] == ["recall@2", "recall@3"]


def test_evaluate_prints_a_table(index_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mentions = write_mentions(tmp_path / "m.jsonl", [*MENTIONS, Mention("大鹏", 0, 2, nil="NIL_Person")])
    assert main(["evaluate", str(mentions), "--index", str(index_folder)]) == 0
    output = capsys.readouterr().out
    assert "Recall@128" in output
    assert "left out of recall: 1 NIL" in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["link", "--index", "{index}", "--text", "没有标记"], "no mention in"),
        (["link", "none.jsonl", "--index", "{index}"], "there is no file none.jsonl"),
        (["link", "--text", MARKED, "--index", "{index}", "--device", "cuda:7"], "cuda:7"),
        (["link", "--text", MARKED, "--index", "{index}", "--model", "/no/such"], "there is no model folder /no/such"),
        (["index", "--remove", "Q404", "--out", "{index}"], "no entity 'Q404'"),
        (["evaluate", "none.jsonl", "--index", "{index}"], "there is no file none.jsonl"),
        (
            ["train", "--model", "{model}", "--kb", "x", "--train", "y", "--out", "{tmp}/m", "--config", "z"],
            "there is no file z",
        ),
    ],
)
def test_failures_are_one_line_and_status_1(
    arguments: list[str], message: str, index_folder: Path, model_folder: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    filled = [a.format(index=index_folder, model=model_folder, tmp=tmp_path) for a in arguments]
    assert main(filled) == 1
    error = capsys.readouterr().err.strip()
    assert error.startswith("error: ")
    assert message in error
    assert "\n" not in error


@pytest.mark.process
def test_interrupted_index_leaves_the_earlier_one(index_folder: Path, model_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(index_folder, tmp_path / "index")
    kb = write_entities(
        tmp_path / "kb.jsonl", [Entity(f"e{i}", f"名{i}", description="很长" * 60) for i in range(60000)]
    )
    options = ["--model", model_folder, "--out", tmp_path / "index", "--overwrite"]
    process = subprocess.Popen(
        [sys.executable, "-m", "modelscope_plugin", "index", kb, *options],
        stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    time.sleep(6)
    assert process.poll() is None
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert len(EntityIndex.load(tmp_path / "index", verify=True)) == 6


@pytest.mark.process
def test_closed_pipe_is_no_traceback(index_folder: Path, tmp_path: Path) -> None:
    mentions = write_mentions(tmp_path / "m.jsonl", MENTIONS * 400)
    command = f"{sys.executable} -m modelscope_plugin link {mentions} --index {index_folder} --json | head -n 1"
    result = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=300, check=False)
    assert json.loads(result.stdout)["text"] == MENTIONS[0].text
    assert "Traceback" not in result.stderr


@pytest.mark.process
def test_knowledge_base_from_standard_input(model_folder: Path, kb_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "index"
    result = _process("index", "-", "--model", model_folder, "--out", out, stdin=kb_file.read_text(encoding="utf-8"))
    assert result.returncode == 0, result.stderr
    assert len(EntityIndex.load(out)) == 6


def test_added_entities_keep_the_window_of_the_index(
    model_folder: Path, kb_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "index"
    assert main(["index", str(kb_file), "--model", str(model_folder), "--out", str(out), "--max-length", "16"]) == 0
    assert main(["index", str(kb_file), "--add", "--out", str(out)]) == 0
    assert EntityIndex.load(out).max_length == 16
    assert main(["index", str(kb_file), "--add", "--out", str(out), "--max-length", "32"]) == 1
    assert "were cut to 16 tokens" in capsys.readouterr().err


def test_moved_model_is_named_anew_when_entities_are_added(
    model_folder: Path, index_folder: Path, kb_file: Path, tmp_path: Path
) -> None:
    shutil.copytree(index_folder, tmp_path / "index")
    shutil.copytree(model_folder, tmp_path / "moved")
    assert (
        main(["index", str(kb_file), "--add", "--out", str(tmp_path / "index"), "--model", str(tmp_path / "moved")])
        == 0
    )
    assert EntityIndex.load(tmp_path / "index").model == str(tmp_path / "moved")


@pytest.mark.process
def test_output_that_cannot_show_a_character_gets_its_code(index_folder: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "modelscope_plugin", "link", "--index", index_folder, "--text", MARKED],
        capture_output=True, text=True, timeout=300, check=False, env=os.environ | {"PYTHONIOENCODING": "ascii"},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert r"\u5927\u9e4f" in result.stdout


def test_current_folder_is_not_replaced(
    model_folder: Path, kb_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert main(["index", str(kb_file), "--model", str(model_folder), "--out", "."]) == 1


@pytest.mark.process
def test_encode_by_two_processes_gives_the_same_file(model_folder: Path, kb_file: Path, tmp_path: Path) -> None:
    plain, shared = tmp_path / "plain.npy", tmp_path / "shared.npy"
    encode = ("encode", kb_file, "--side", "entity", "--model", model_folder, "--device", "cpu", "--out")
    assert main([*map(str, encode), str(plain)]) == 0
    assert main([*map(str, encode), str(shared), "--processes", "2"]) == 0
    np.testing.assert_allclose(np.load(plain), np.load(shared), atol=1e-6)
    assert sorted(path.name for path in tmp_path.glob("*.npy*")) == ["plain.npy", "shared.npy"]


def test_interrupted_encode_says_what_was_there(
    model_folder: Path, mentions_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "vectors.npy"
    with LocalBulkEncoder(model_folder, tmp_path / "vectors.npy.shards", device="cpu") as job:
        list(job.encode_shards("mention", read_mentions(mentions_file)))
    assert main(["encode", str(mentions_file), "--model", str(model_folder), "--device", "cpu", "--out", str(out)]) == 0
    assert "6 vectors of 64 dimensions, 6 of them from an interrupted run" in capsys.readouterr().out
    assert not out.with_name("vectors.npy.shards").exists()


def test_onnx_index_is_searched_with_torch(
    model_folder: Path, kb_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnxruntime")
    folder = shutil.copytree(model_folder, tmp_path / "model")
    index = tmp_path / "index"
    _json(capsys, "index", kb_file, "--model", folder, "--backend", "onnx-int8", "--out", index, "--json")
    linked = [
        _json(capsys, "link", "--index", index, "--backend", backend, "--text", MARKED, "--json")
        for backend in ("torch", "onnx", "onnx-int8")
    ]
    names = [[each["id"] for each in one["mentions"][0]["candidates"]] for one in linked]
    assert len(names[0]) == 5
    assert names[0] == names[1]


@pytest.mark.parametrize(("most", "found"), [("2", ["大鹏"]), ("3", ["大鹏", "苹果"])])
def test_link_detects_names_of_as_many_bearers_as_it_is_told(
    most: str, found: list[str], model_folder: Path, index_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--index", index_folder, "--detect", "--max-bearers", most, "--text", "大鹏吃苹果"]
    linked = _json(capsys, "link", "--model", model_folder, *options, "--json")
    assert [mention["mention"] for mention in linked["mentions"]] == found
