"""Indexes that follow their knowledge base."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ENTITIES, write_entities

from modelscope_plugin.cli.main import main
from modelscope_plugin.data import Entity
from modelscope_plugin.encoding import EntityEncoder
from modelscope_plugin.retrieval import EntityIndex

CHANGES = ("added", "changed", "unchanged", "removed")


@pytest.fixture
def own(index_folder: Path, tmp_path: Path) -> Path:
    shutil.copytree(index_folder, tmp_path / "index")
    return tmp_path / "index"


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    assert main(["index", *map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of the entities that are encoded from now on."""
    ids: list[str] = []
    encode = EntityEncoder.encode_document

    def record(self: EntityEncoder, documents: Any, **options: Any) -> Any:
        ids.extend(entity.id for entity in documents)
        return encode(self, documents, **options)

    monkeypatch.setattr(EntityEncoder, "encode_document", record)
    return ids


def test_sync_encodes_only_what_changed(
    own: Path, tmp_path: Path, encoded: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    kb = write_entities(tmp_path / "kb.jsonl", [*ENTITIES[1:-1], Entity("river", "黄河"), Entity("new", "新")])
    facts = run(capsys, "--sync", kb, "--out", own)
    assert [facts[name] for name in CHANGES] == [1, 1, 4, 1]
    assert sorted(encoded) == ["new", "river"]
    index = EntityIndex.load(own, verify=True)
    assert (sorted(index.ids), index[index.row_of("river")].name) == (
        ["apple-film", "apple-fruit", "dapeng", "new", "river", "roc"],
        "黄河",
    )


@pytest.mark.parametrize("option", ["--sync", "--add"])
def test_file_without_changes_needs_no_model(
    option: str, own: Path, kb_file: Path, encoded: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    index = EntityIndex.load(own)
    index.model = "gone"
    index.save(own)
    facts = run(capsys, option, kb_file, "--out", own)
    assert ([facts[name] for name in CHANGES], encoded) == ([0, 0, 6, 0], [])


def test_sync_is_what_building_anew_gives(
    own: Path, tmp_path: Path, model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kb = write_entities(tmp_path / "kb.jsonl", [*ENTITIES[2:], Entity("new", "新", ("苹果",))])
    run(capsys, "--sync", kb, "--out", own)
    run(capsys, kb, "--model", model_folder, "--out", tmp_path / "anew")
    both = [EntityIndex.load(folder) for folder in (own, tmp_path / "anew")]
    assert list(both[0]) == list(both[1])
    assert abs(both[0].vectors - both[1].vectors).max() < 1e-5


def test_sync_with_an_empty_file_removes_nothing(own: Path, tmp_path: Path) -> None:
    kb = write_entities(tmp_path / "kb.jsonl", [])
    assert main(["index", "--sync", str(kb), "--out", str(own)]) == 1
    assert len(EntityIndex.load(own)) == 6


@pytest.mark.parametrize("text", ["roc\n\n river \n", '{"id": "roc", "name": "大鹏"}\n{"subject_id": "river"}\n'])
def test_ids_to_remove_are_read_from_a_file(
    own: Path, tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ids").write_text(text, encoding="utf-8")
    facts = run(capsys, "--remove-from", tmp_path / "ids", "--remove", "roc", "--out", own)
    assert (facts["removed"], facts["entities"]) == (2, 4)


def test_line_without_an_id_to_remove_is_named(own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "ids").write_text('roc\n{"name": "x"}\n', encoding="utf-8")
    assert main(["index", "--remove-from", str(tmp_path / "ids"), "--out", str(own)]) == 1
    assert "ids:2: no entity id" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ids", "10001\n10002\n"),
        ("ids.jsonl", '{"id": 10001}\n{"编号": 10002.0}\n'),
        ("ids.json", '[{"kb_id": 10001.0, "name": 1}, {"id": "10002"}]'),
        ("ids.csv", "编号,名称\n10001,甲\n10002,乙\n"),
    ],
)
def test_ids_to_remove_are_read_like_those_of_a_knowledge_base(
    name: str, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    index = EntityIndex(4, "model")
    index.add([Entity(f"{one}", "名") for one in (10001, 10002, 10003)], np.ones((3, 4), np.float32))
    index.save(tmp_path / "index")
    (tmp_path / name).write_text(text, encoding="utf-8")
    facts = run(capsys, "--remove-from", tmp_path / name, "--out", tmp_path / "index")
    assert (facts["removed"], EntityIndex.load(tmp_path / "index").ids) == (2, ["10003"])


def test_record_without_an_id_to_remove_can_be_left_out(
    own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ids").write_text('roc\n{"name": "x"}\n', encoding="utf-8")
    assert run(capsys, "--remove-from", tmp_path / "ids", "--skip-broken", "--out", own)["removed"] == 1
