from __future__ import annotations

import numpy as np
import pytest
from conftest import ENTITIES
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelscope_plugin.data import Entity, Mention
from modelscope_plugin.errors import InputError
from modelscope_plugin.retrieval import EntityIndex, Fitted, Fusion, Retriever

VECTORS = np.random.default_rng(0).normal(size=(6, 8)).astype(np.float32)
QUERY = VECTORS[5:6]  # nearest to the river


@pytest.fixture
def small() -> EntityIndex:
    index = EntityIndex(8, "model")
    index.add(ENTITIES, VECTORS)
    return index


def ids(index: EntityIndex, retrieval: str, surface: str, top_k: int = 6, fusion: Fusion | None = None) -> list[str]:
    found = Retriever(index, retrieval, fusion).search(QUERY, [surface], top_k)
    return [candidate.id for candidate in found[0]]


def test_dense_is_the_search_of_the_index(small: EntityIndex) -> None:
    assert Retriever(small, "dense").search(QUERY, ["大鹏"], 4) == small.search(QUERY, 4)


def test_lexical_needs_no_vector_and_orders_namesakes_by_id(small: EntityIndex) -> None:
    found = Retriever(small, "lexical").search(None, ["大鹏", "无关"], 6)
    assert [(one.id, one.match, one.rank) for one in found[0]] == [
        ("dapeng", "exact", 1),
        ("roc", "exact", 2),
    ]
    assert found[1] == []


def test_hybrid_puts_exact_names_first_and_orders_them_by_the_vectors(small: EntityIndex) -> None:
    order = sorted(("apple-inc", "apple-fruit", "apple-film"), key=lambda one: -(VECTORS @ QUERY[0])[small.row_of(one)])
    assert ids(small, "hybrid", "苹果")[:3] == order
    assert ids(small, "hybrid", "苹果")[3] == "river"


def test_hybrid_without_a_name_is_the_dense_order(small: EntityIndex) -> None:
    assert ids(small, "hybrid", "xyz") == ids(small, "dense", "xyz")


def test_candidates_say_where_they_came_from(small: EntityIndex) -> None:
    small.lexicon.learn([Mention("神鸟飞了", 0, 2, ("roc",))])
    found = {one.id: one for one in Retriever(small, "hybrid").search(QUERY, ["神鸟"], 6)[0]}
    assert (found["roc"].match, found["roc"].name_score) == ("learned", 1.0)
    assert (found["river"].match, found["river"].dense_rank) == (None, 1)
    assert found["river"].dense_score == pytest.approx(float(QUERY[0] @ QUERY[0]), rel=1e-5)
    matches = {one.id: one.match for one in Retriever(small, "hybrid").search(QUERY, ["DA　PENG"], 6)[0]}
    assert matches["dapeng"] == "normalized"
    assert {one.id: one.match for one in Retriever(small, "hybrid").search(QUERY, ["大江"], 6)[0]}["river"] == "partial"


def test_learned_names_bring_in_what_is_far_away(small: EntityIndex) -> None:
    before = ids(small, "hybrid", "神鸟").index("roc")
    small.lexicon.learn([Mention("神鸟飞了", 0, 2, ("roc",))])
    assert ids(small, "hybrid", "神鸟").index("roc") < before or before == 0


def test_fitted_fusion_of_the_index_is_used(small: EntityIndex) -> None:
    small.fitted = Fitted(Fusion("weighted_sum", 0.0, 1.0, 0.0))
    assert ids(small, "hybrid", "江河")[0] == "river"
    assert Retriever(small, "hybrid").fusion.method == "weighted_sum"


@given(st.integers(1, 6), st.sampled_from(["大鹏", "苹果公司", "江", "xyz"]))
def test_fewer_candidates_are_the_beginning_of_more(top_k: int, surface: str) -> None:
    index = EntityIndex(8, "model")
    index.add(ENTITIES, VECTORS)
    for retrieval in ("dense", "lexical", "hybrid"):
        assert ids(index, retrieval, surface, top_k) == ids(index, retrieval, surface)[:top_k]


def test_order_of_the_knowledge_base_does_not_matter(small: EntityIndex) -> None:
    other = EntityIndex(8, "model")
    other.add(ENTITIES[::-1], VECTORS[::-1])
    for retrieval in ("lexical", "hybrid"):
        assert ids(other, retrieval, "苹果") == ids(small, retrieval, "苹果")


def test_a_name_that_very_many_bear_is_bounded() -> None:
    index = EntityIndex(8, "model")
    entities = [Entity(f"e{number:04}", "无名") for number in range(1500)]
    index.add(entities, np.random.default_rng(1).normal(size=(1500, 8)).astype(np.float32))
    assert ids(index, "lexical", "无名", 3) == ["e0000", "e0001", "e0002"]
    assert ids(index, "hybrid", "无名", 1)[0] == ids(index, "dense", "无名", 1)[0]


def test_names_written_as_the_mention_come_before_those_that_are_equal_once_normalised() -> None:
    index = EntityIndex(8, "model")
    entities = [
        Entity("a", "大鵬"),
        Entity("b", "大 鹏"),
        Entity("c", "鲲", ("大鹏",)),
        Entity("d", "大鹏"),
        Entity("e", "江"),
    ]
    index.add(entities, VECTORS[[0, 1, 2, 3, 5]])
    for retrieval in ("lexical", "hybrid"):
        found = Retriever(index, retrieval).search(QUERY, ["大鹏"], 5)[0]
        assert [one.match for one in found[:4]] == ["exact", "exact", "normalized", "normalized"]
        assert {one.id for one in found[:2]} == {"c", "d"}


def test_a_name_that_agrees_in_its_beginning_alone_is_not_exact() -> None:
    index = EntityIndex(8, "model")
    beginning = "大鹏" * 40
    index.add([Entity("a", beginning + "甲"), Entity("b", beginning + "乙")], VECTORS[:2])
    for retrieval in ("lexical", "hybrid"):
        found = Retriever(index, retrieval).search(QUERY, [beginning + "乙"], 2)[0]
        assert [(one.id, one.match) for one in found] == [("b", "exact"), ("a", "partial")]
        assert {one.match for one in Retriever(index, retrieval).search(QUERY, [beginning], 2)[0]} == {"partial"}


LETTERS = st.text(alphabet="大鹏鲲江", min_size=1, max_size=3)


@given(
    names=st.lists(LETTERS, min_size=140, max_size=160),
    learned=st.lists(st.tuples(LETTERS, st.integers(0, 139)), max_size=5),
    surface=LETTERS,
    top_k=st.integers(1, 127),
)
@settings(max_examples=25)
def test_first_candidates_do_not_depend_on_how_many_are_wanted(
    names: list[str], learned: list[tuple[str, int]], surface: str, top_k: int
) -> None:
    index = EntityIndex(8, "model")
    entities = [Entity(f"e{number}", name) for number, name in enumerate(names)]
    index.add(entities, np.random.default_rng(2).normal(size=(len(names), 8)).astype(np.float32))
    index.lexicon.learn([Mention(word, 0, len(word), (f"e{one}",)) for word, one in learned])
    for retrieval in ("dense", "lexical", "hybrid"):
        assert ids(index, retrieval, surface, top_k) == ids(index, retrieval, surface, 128)[:top_k]
    assert ids(index, "lexical", surface, top_k) == ids(index, "lexical", surface, 1000)[:top_k]


def test_unknown_retrieval_is_refused(small: EntityIndex) -> None:
    with pytest.raises(InputError, match="choose from dense, lexical, hybrid"):
        Retriever(small, "magic")
    with pytest.raises(InputError, match="top_k=0"):
        Retriever(small, "lexical").search(None, ["大鹏"], 0)


def test_empty_index_has_no_candidate() -> None:
    index = EntityIndex(8, "model")
    for retrieval in ("dense", "lexical", "hybrid"):
        assert ids(index, retrieval, "大鹏") == []


@pytest.mark.parametrize("orders_namesakes", [True, False])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_scores_fall_with_rank(index: EntityIndex, orders_namesakes: bool, data: st.DataObject) -> None:
    """Also where a name puts an entity first that the fused lists do not."""
    weights = data.draw(st.tuples(*[st.floats(0, 4)] * 3))
    fusion = Fusion("reciprocal_rank", *weights, orders_namesakes=orders_namesakes)
    retriever = Retriever(index, "hybrid", fusion)
    vector = np.random.default_rng(data.draw(st.integers(0, 99))).normal(size=(1, index.dimension)).astype(np.float32)
    surface = data.draw(st.sampled_from(["苹果", "大鹏", "da peng", "江", "无"]))
    (ranking,) = retriever.rank(vector, [surface], 6)
    assert (np.diff(ranking.scores) <= 1e-12).all()
