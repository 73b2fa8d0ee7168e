import json
from pathlib import Path

import pytest

from modelscope_plugin.cli.main import main
from modelscope_plugin.index import EntityIndex


def build(model: Path, kb: Path, out: Path, *options: str) -> int:
    return main(["index", str(kb), "--model", str(model), "--out", str(out), *options])


def test_small_index_is_exact_and_says_so(
    model_folder: Path, kb_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build(model_folder, kb_file, tmp_path / "index") == 0
    assert capsys.readouterr().out.splitlines()[-1] == "search exact; float32"
    assert sorted(path.name for path in (tmp_path / "index").iterdir()) == [
        "entities.jsonl",
        "ids.json",
        "manifest.json",
        "offsets.npy",
        "vectors.npy",
    ]


def test_precision_and_truncation_are_stored_with_their_recall(
    model_folder: Path, kb_file: Path, mentions_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--precision", "int8", "--truncate-dim", "32", "--queries", str(mentions_file), "--json"]
    assert build(model_folder, kb_file, tmp_path / "index", *options) == 0
    search = json.loads(capsys.readouterr().out)["search"]
    assert (search["kind"], search["precision"], search["truncate_dim"]) == ("exact", "int8", 32)
    assert EntityIndex.load(tmp_path / "index").tuning.to_record() == search


def test_kind_that_faiss_does_not_know_fails_in_one_line(
    model_folder: Path, kb_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build(model_folder, kb_file, tmp_path / "index", "--search", "Nonsense") == 1
    assert "error: FAISS cannot make an index of kind 'Nonsense'" in capsys.readouterr().err
    assert not (tmp_path / "index").exists()


def test_search_options_are_for_a_new_index(
    model_folder: Path, kb_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build(model_folder, kb_file, tmp_path / "index")
    command = ["index", str(kb_file), "--add", "--out", str(tmp_path / "index"), "--precision", "int8"]
    assert main(command) == 2
    assert "are for a new index" in capsys.readouterr().err


def test_graph_index_links_and_is_evaluated_both_ways(
    model_folder: Path, kb_file: Path, mentions_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build(model_folder, kb_file, tmp_path / "index", "--search", "HNSW8,Flat") == 0
    for options in ([], ["--as-linked"]):
        capsys.readouterr()
        command = ["evaluate", str(mentions_file), "--index", str(tmp_path / "index"), "--k", "2", "--json", *options]
        assert main(command) == 0
        assert 0 <= json.loads(capsys.readouterr().out)["recall@2"] <= 1
