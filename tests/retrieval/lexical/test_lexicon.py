from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import ENTITIES, MENTIONS

from modelscope_plugin.data import Entity, Mention
from modelscope_plugin.errors import IndexFolderError
from modelscope_plugin.retrieval import EntityIndex, Fitted, Fusion


@pytest.fixture
def small() -> EntityIndex:
    index = EntityIndex(2, "model")
    index.add(ENTITIES, np.eye(6, 2, dtype=np.float32))
    return index


def bearers(index: EntityIndex, name: str) -> list[str]:
    return [index.ids[row] for row in index.lexicon.names.exact(name)]


def test_names_follow_what_is_added_and_removed(small: EntityIndex) -> None:
    assert bearers(small, "大鹏") == ["dapeng", "roc"]
    small.remove(["dapeng"])
    small.add([Entity("new", "新", ("大鹏",)), Entity("river", "黄河")], np.ones((2, 2), np.float32))
    assert bearers(small, "大鹏") == ["new", "roc"]
    assert bearers(small, "长江") == []
    assert bearers(small, "黄河") == ["river"]


def test_learned_names_are_kept_by_id(small: EntityIndex, tmp_path: Path) -> None:
    assert small.lexicon.learn([Mention("神鸟飞了", 0, 2, ("roc", "Q404"))]) == 1
    small.save(tmp_path / "index")
    opened = EntityIndex.load(tmp_path / "index", verify=True)
    opened.remove(["apple-inc"])
    assert [opened.ids[row] for row in opened.lexicon.learned.exact("神鸟")] == ["roc"]
    opened.remove(["roc"])
    assert len(opened.lexicon.learned) == 0
    assert opened.lexicon.learn(MENTIONS[:1]) == 0


def test_learned_names_of_a_removed_entity_do_not_come_back_with_its_id(small: EntityIndex) -> None:
    small.lexicon.learn([Mention("神鸟飞了", 0, 2, ("roc",))])
    small.remove(["roc"])
    small.add([Entity("roc", "洛克")], np.ones((1, 2), np.float32))
    assert len(small.lexicon.learned) == 0


def test_learned_names_of_an_entity_that_is_replaced_stay(small: EntityIndex) -> None:
    small.lexicon.learn([Mention("神鸟飞了", 0, 2, ("roc",))])
    small.add([Entity("roc", "鲲鹏", ("大鹏",))], np.ones((1, 2), np.float32))
    assert [small.ids[row] for row in small.lexicon.learned.exact("神鸟")] == ["roc"]


def test_saved_names_are_those_of_the_index(small: EntityIndex, tmp_path: Path) -> None:
    small.save(tmp_path / "index")
    opened = EntityIndex.load(tmp_path / "index")
    assert list(opened.lexicon.names.pairs()) == list(small.lexicon.names.pairs())


def test_folder_of_version_1_opens_without_names(small: EntityIndex, tmp_path: Path) -> None:
    folder = tmp_path / "index"
    small.save(folder)
    (folder / "names.safetensors").unlink()
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    del manifest["files"]["names.safetensors"], manifest["fitted"]
    (folder / "manifest.json").write_text(json.dumps(manifest | {"version": 1}), encoding="utf-8")
    assert bearers(EntityIndex.load(folder), "大鹏") == ["dapeng", "roc"]


def test_missing_names_are_noticed(small: EntityIndex, tmp_path: Path) -> None:
    small.save(tmp_path / "index")
    (tmp_path / "index" / "names.safetensors").unlink()
    with pytest.raises(IndexFolderError, match=r"names\.safetensors is missing"):
        EntityIndex.load(tmp_path / "index")


def test_entities_without_any_text_have_no_names(tmp_path: Path) -> None:
    index = EntityIndex(2, "model")
    index.add([Entity("a", ""), Entity("b", " ", ("",))], np.ones((2, 2), np.float32))
    index.save(tmp_path / "index")
    assert len(EntityIndex.load(tmp_path / "index").lexicon.names) == 0


def test_what_was_fitted_is_written_alone(small: EntityIndex, tmp_path: Path) -> None:
    small.save(tmp_path / "index")
    opened = EntityIndex.load(tmp_path / "index")
    opened.fitted = Fitted(Fusion(names=0.3))
    opened.save_fitted(tmp_path / "index")
    assert EntityIndex.load(tmp_path / "index", verify=True).fitted == Fitted(Fusion(names=0.3))


def test_index_that_is_replaced_on_disk_keeps_its_own_names(tmp_path: Path, small: EntityIndex) -> None:
    folder = tmp_path / "index"
    small.lexicon.learn([Mention("水果真甜", 0, 2, ("apple-fruit",))])
    small.save(folder)
    opened, other = EntityIndex.load(folder), EntityIndex.load(folder)
    other.remove([ENTITIES[0].id])
    other.save(folder)
    assert bearers(opened, "长江") == ["river"]
    assert [opened.ids[row] for row in opened.lexicon.learned.exact("水果")] == ["apple-fruit"]
