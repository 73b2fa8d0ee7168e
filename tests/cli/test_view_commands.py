"""Several vectors per entity, through the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import ENTITIES, write_entities

from modelscope_plugin.cli.main import main
from modelscope_plugin.data import Entity
from modelscope_plugin.data.views import ViewSettings, entity_views
from modelscope_plugin.retrieval import EntityIndex

MARKED = "小品里 [ENT_S] 大鹏 [ENT_E] 很好笑"


def _json(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
    assert main([*map(str, arguments)]) == 0
    return json.loads(capsys.readouterr().out)


def test_index_with_views_reports_what_they_cost_and_link_says_which_won(
    model_folder: Path, kb_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    built = _json(
        capsys, "index", kb_file, "--model", model_folder, "--out", tmp_path / "index", "--views", 4, "--json"
    )
    assert (built["entities"], built["views"], built["bytes_per_view"]) == (6, 12, 4 * 64 + 12)
    assert built["seconds_per_view"] > 0
    linked = _json(capsys, "link", "--index", tmp_path / "index", "--text", MARKED, "--top-k", 6, "--json")
    candidates = {candidate["id"]: candidate["view"] for candidate in linked["mentions"][0]["candidates"]}
    assert candidates.keys() == {entity.id for entity in ENTITIES}
    assert all(candidates[entity.id] in entity_views(entity, 4) for entity in ENTITIES)


def test_index_is_added_to_with_its_own_views(
    model_folder: Path, kb_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    index = tmp_path / "index"
    options = ["--views", "4", "--merge-views", "1", "--device", "cpu"]
    assert main(["index", str(kb_file), "--model", str(model_folder), "--out", str(index), *options]) == 0
    assert "12 views, each 268 bytes, " in capsys.readouterr().out
    more = write_entities(tmp_path / "more.jsonl", [Entity("new", "新", (), (), "苹果。大鹏。手机。")])
    assert _json(capsys, "index", more, "--add", "--out", index, "--json")["views"] == 12 + 4 + 1
    assert main(["index", str(more), "--add", "--out", str(index), "--views", "2"]) == 2
    assert "added entities are stored like those of the index" in capsys.readouterr().err
    removed = _json(capsys, "index", "--remove", "new", "roc", "--out", index, "--json")
    assert (removed["views"], "seconds_per_view" in removed) == (10, False)
    assert EntityIndex.load(index, verify=True).view_settings == ViewSettings(4, 1)


def test_one_view_prints_and_answers_as_ever(
    model_folder: Path, kb_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    built = _json(capsys, "index", kb_file, "--model", model_folder, "--out", tmp_path / "index", "--json")
    assert built.keys() == {"index", "entities", "dimension", "model", "search"}
    linked = _json(capsys, "link", "--index", tmp_path / "index", "--text", MARKED, "--json")
    assert "view" not in linked["mentions"][0]["candidates"][0]


def test_model_says_as_how_many_views_it_is_indexed(
    model_folder: Path, kb_file: Path, mentions_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(model_folder, tmp_path / "model")
    configuration = json.loads((tmp_path / "model" / "configuration.json").read_text(encoding="utf-8"))
    configuration["train"]["views"] = 3
    (tmp_path / "model" / "configuration.json").write_text(json.dumps(configuration), encoding="utf-8")
    source = [kb_file, "--model", tmp_path / "model"]
    assert _json(capsys, "index", *source, "--out", tmp_path / "index", "--json")["views"] == 12
    assert "views" not in _json(capsys, "index", *source, "--out", tmp_path / "one", "--views", 1, "--json")
    by_index = _json(capsys, "evaluate", mentions_file, "--index", tmp_path / "index", "--json")
    assert _json(capsys, "evaluate", mentions_file, "--kb", *source, "--json") == by_index


def test_views_are_summed_at_the_temperature_of_the_model(
    model_folder: Path, kb_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(model_folder, tmp_path / "model")
    configuration = json.loads((tmp_path / "model" / "configuration.json").read_text(encoding="utf-8"))
    configuration["train"]["temperature"] = 0.1
    (tmp_path / "model" / "configuration.json").write_text(json.dumps(configuration), encoding="utf-8")
    options = ["--model", tmp_path / "model", "--views", 4, "--view-scores", "sum"]
    _json(capsys, "index", kb_file, "--out", tmp_path / "index", *options, "--json")
    index = EntityIndex.load(tmp_path / "index", verify=True)
    assert index.view_settings == ViewSettings(4, view_scores="sum", temperature=0.1)
    assert main(["index", str(kb_file), "--add", "--out", str(tmp_path / "index"), "--view-scores", "max"]) == 2
    assert "--view-scores" in capsys.readouterr().err


def test_merging_without_neighbours_is_refused(
    model_folder: Path, kb_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["index", str(kb_file), "--model", str(model_folder), "--out", str(tmp_path / "index")]
    assert main([*command, "--merge-views", "1"]) == 1
    assert "merge_rounds=1 needs max_views of at least 3" in capsys.readouterr().err
