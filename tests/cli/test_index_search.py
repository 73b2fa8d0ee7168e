import json
from pathlib import Path

import pytest
from conftest import ENTITIES, write_entities

from modelscope_plugin.cli.main import main
from modelscope_plugin.data import Entity
from modelscope_plugin.retrieval import EntityIndex


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
        "names.safetensors",
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


def test_more_dimensions_than_the_model_has_fail_before_anything_is_encoded(
    model_folder: Path, kb_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build(model_folder, kb_file, tmp_path / "index", "--truncate-dim", "4096") == 1
    assert "error: truncate_dim=4096 is not between 1 and the" in capsys.readouterr().err
    assert not (tmp_path / "index").exists()


@pytest.mark.parametrize("options", [["--precision", "int8"], ["--views", "2"], ["--queries", "mentions.jsonl"]])
def test_options_of_building_are_for_a_new_index(
    model_folder: Path, kb_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    build(model_folder, kb_file, tmp_path / "index")
    for change in (["--remove", ENTITIES[0].id], [str(kb_file), "--add"]):
        assert main(["index", *change, "--out", str(tmp_path / "index"), *options]) == 2
        assert "are for building an index" in capsys.readouterr().err


def test_approximate_index_with_views_links_by_names_and_is_evaluated_both_ways(
    model_folder: Path, mentions_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entities = [*ENTITIES, *(Entity(f"X{number}", f"条目{number}", description="说明。") for number in range(700))]
    kb = tmp_path / "kb.jsonl"
    write_entities(kb, entities)
    options = ["--search", "approximate", "--precision", "float16", "--views", "3", "--json"]
    assert build(model_folder, kb, tmp_path / "index", *options) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["search"]["kind"][:3], facts["search"]["trained"] == facts["views"]) == ("IVF", True)
    for way in ([], ["--approximate"], ["--approximate", "--retrieval", "hybrid"]):
        command = ["evaluate", str(mentions_file), "--index", str(tmp_path / "index"), "--k", "2", "--json", *way]
        assert main(command) == 0
        assert 0 <= json.loads(capsys.readouterr().out)["recall@2"] <= 1
    assert (
        main(["link", "--text", f"[ENT_S]{ENTITIES[0].name}[ENT_E]", "--index", str(tmp_path / "index"), "--json"]) == 0
    )
    best = json.loads(capsys.readouterr().out)["mentions"][0]["candidates"][0]
    # Of its namesakes the first by id: vectors of random weights do not order them.
    namesakes = [entity.id for entity in ENTITIES if ENTITIES[0].name in entity.names]
    assert (best["id"], best["match"]) == (min(namesakes), "exact")
