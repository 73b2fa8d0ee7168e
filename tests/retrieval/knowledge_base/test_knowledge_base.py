from __future__ import annotations

from pathlib import Path

import pytest
from conftest import ENTITIES

from modelscope_plugin.data import Entity
from modelscope_plugin.errors import InputError
from modelscope_plugin.retrieval import EntityIndex, KnowledgeBase, Retriever


@pytest.fixture
def base() -> KnowledgeBase:
    return KnowledgeBase(ENTITIES)


def test_entities_are_found_by_row_and_by_id(base: KnowledgeBase) -> None:
    assert (list(base), len(base), base[3]) == (ENTITIES, 6, ENTITIES[3])
    assert base.get("roc") == ENTITIES[base.row_of("roc")]
    assert base.rows_of(["roc", "apple-inc"]).tolist() == [4, 0]
    assert ("roc" in base, "Q404" in base, base.get("Q404")) == (True, False, None)


def test_added_entities_stand_behind_the_rest_and_replace_those_of_their_id(base: KnowledgeBase) -> None:
    base.add([Entity("new", "新"), Entity("apple-inc", "苹果")])
    assert base.ids == ["apple-fruit", "apple-film", "dapeng", "roc", "river", "new", "apple-inc"]
    assert base[6] == Entity("apple-inc", "苹果")


def test_removed_entities_are_gone_and_those_behind_move_up(base: KnowledgeBase) -> None:
    base.remove(["apple-inc", "dapeng"])
    assert [entity.id for entity in base] == base.ids == ["apple-fruit", "apple-film", "roc", "river"]
    assert base.row_of("river") == 3
    with pytest.raises(InputError, match=r"no entity 'dapeng' in the index \(1 of 2 ids are not there\)"):
        base.remove(["roc", "dapeng"])
    assert "roc" in base


@pytest.mark.parametrize("id", ["a", " "])
def test_ids_must_be_unique_and_not_empty(id: str) -> None:
    with pytest.raises(InputError, match="ids must be unique and not empty"):
        KnowledgeBase([Entity("a", "甲"), Entity(id, "乙")])


def test_names_come_with_the_rows_that_bear_them(base: KnowledgeBase) -> None:
    assert list(base.names())[:3] == [("苹果", 0), ("苹果公司", 0), ("苹果", 1)]


def test_saved_entities_open_again_and_can_be_changed_and_saved_anew(base: KnowledgeBase, tmp_path: Path) -> None:
    assert sorted(base.save(tmp_path)) == sorted(path.name for path in tmp_path.iterdir())
    opened = KnowledgeBase.open(tmp_path)
    assert list(opened) == ENTITIES
    opened.remove(["apple-fruit"])
    opened.add([Entity("new", "新")])
    (tmp_path / "other").mkdir()
    opened.save(tmp_path / "other")
    again = KnowledgeBase.open(tmp_path / "other")
    assert list(again) == list(opened) == [*ENTITIES[:1], *ENTITIES[2:], Entity("new", "新")]


def test_lexical_retrieval_needs_no_vectors(base: KnowledgeBase, index: EntityIndex) -> None:
    surfaces = ["大鹏", "苹果公司", "江", "xyz"]
    found = Retriever(base, "lexical").search(None, surfaces, 4)
    assert found == Retriever(index, "lexical").search(None, surfaces, 4)
    assert [one.id for one in found[0]] == ["dapeng", "roc"]


@pytest.mark.parametrize("retrieval", ["dense", "hybrid"])
def test_other_retrieval_needs_an_index_and_vectors(base: KnowledgeBase, index: EntityIndex, retrieval: str) -> None:
    with pytest.raises(InputError, match=f"{retrieval} retrieval needs an index"):
        Retriever(base, retrieval)
    with pytest.raises(InputError, match="needs the vectors of the mentions"):
        Retriever(index, retrieval).search(None, ["大鹏"], 1)
