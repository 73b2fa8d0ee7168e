from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelscope_plugin.errors import IndexFolderError
from modelscope_plugin.index.names import AliasIndex
from modelscope_plugin.index.names.alias_index import MAX_NAME
from modelscope_plugin.index.names.bm25 import GramIndex

NAME = st.text(alphabet="大鹏鲲a1", min_size=1, max_size=5)
NAMES = st.lists(NAME, min_size=1, max_size=12, unique=True)


def grams(name: str) -> list[str]:
    return [*name, *(name[place : place + 2] for place in range(len(name) - 1))]


def bm25(query: str, names: list[str]) -> list[float]:
    """The formula, name by name."""
    documents = [Counter(grams(name)) for name in names]
    mean = sum(len(document) for document in documents) / len(documents)
    scores = []
    for document in documents:
        score = 0.0
        for gram, times in Counter(grams(query)).items():
            frequency = sum(gram in other for other in documents)
            inverse = np.log(1 + (len(names) - frequency + 0.5) / (frequency + 0.5))
            count = document[gram]
            score += times * inverse * count * 2.2 / (count + 1.2 * (0.25 + 0.75 * len(document) / mean))
        scores.append(score)
    return scores


@given(names=NAMES, query=NAME)
def test_scores_are_those_of_the_formula(names: list[str], query: str) -> None:
    scores, _, _ = GramIndex.build(names).scores(query)
    np.testing.assert_allclose(scores, bm25(query, names), rtol=1e-5, atol=1e-6)


@given(names=NAMES, rows=st.data(), query=NAME, top_k=st.integers(1, 5))
def test_best_rows_are_those_of_a_full_comparison(
    names: list[str], rows: st.DataObject, query: str, top_k: int
) -> None:
    pairs = [(name, rows.draw(st.integers(0, 5))) for name in names]
    best: dict[int, float] = {}
    for (_, row), score in zip(pairs, bm25(query, names), strict=True):
        best[row] = max(best.get(row, 0.0), score)
    wanted = sorted((score for score in best.values() if score > 0), reverse=True)[:top_k]
    found = AliasIndex.build(pairs).search(query, top_k)
    order = np.sort(found.scores)[::-1]
    np.testing.assert_allclose(order[: len(wanted)], wanted, rtol=1e-5)
    for row, score in zip(found.rows.tolist(), found.scores.tolist(), strict=True):
        assert score == pytest.approx(best[row], rel=1e-5)


@given(names=NAMES, query=NAME)
def test_likeness_is_a_share(names: list[str], query: str) -> None:
    index = AliasIndex.build((name, row) for row, name in enumerate(names))
    shares = index.search(query, 3).of(np.arange(len(names) + 2))
    assert shares.min() >= 0
    assert shares.max() <= 1
    assert shares[-1] == 0  # a row without a name


@given(names=NAMES, place=st.integers(0, 11))
def test_a_name_is_likest_to_itself(names: list[str], place: int) -> None:
    index = AliasIndex.build((name, row) for row, name in enumerate(names))
    place %= len(names)
    likeness = index.search(names[place], 1).of(np.arange(len(names)))
    assert likeness[place] == pytest.approx(1.0, rel=1e-5)
    assert likeness.max() == pytest.approx(likeness[place], rel=1e-5)


def test_likeness_falls_with_what_only_one_of_two_names_has() -> None:
    index = AliasIndex.build([("苹果", 0), ("苹果公司", 1), ("香蕉", 2)])
    apple = index.search("苹果", 3).of(np.arange(3))
    assert apple[0] > apple[1] > apple[2] == 0
    assert index.search("苹", 3).of(np.array([0]))[0] < 0.6


def test_exact_names_are_found_whatever_width_case_script_and_punctuation() -> None:
    index = AliasIndex.build([("臺灣大學", 0), ("Da-Peng", 1), ("《大鹏》", 2), ("大鹏", 3)])
    assert index.exact("台湾大学").tolist() == [0]
    assert index.exact("ｄａ ＰＥＮＧ").tolist() == [1]
    assert index.exact("大鵬").tolist() == [2, 3]
    assert index.exact("鹏").tolist() == []


def test_names_of_one_character_are_found() -> None:
    assert AliasIndex.build([("李", 0), ("黎", 1)]).search("李", 5).rows.tolist() == [0]


def test_a_row_of_very_many_names_hides_no_other() -> None:
    index = AliasIndex.build([(f"大鹏{number}", 0) for number in range(3000)] + [("大鹏鸟", 1), ("鹏", 2)])
    assert set(index.search("大鹏1", 3).rows.tolist()) == {0, 1, 2}


def test_a_name_of_a_megabyte_is_cut() -> None:
    index = AliasIndex.build([("大鹏" * 500_000, 0)])
    assert [len(name) for name in index.names] == [MAX_NAME]
    assert index.exact("大鹏" * MAX_NAME).tolist() == [0]


def test_empty_index_finds_nothing() -> None:
    index = AliasIndex.build([("", 0), (" ", 1)])
    assert (len(index), index.search("大鹏", 3).rows.tolist(), index.exact("大鹏").tolist()) == (0, [], [])


@given(names=NAMES, query=NAME)
def test_saved_index_is_the_same(names: list[str], query: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("names") / "names.safetensors"
    index = AliasIndex.build((name, row) for row, name in enumerate(names))
    index.save(path)
    other = AliasIndex.load(path)
    assert list(other.pairs()) == list(index.pairs())
    assert other.search(query, 4).scores.tolist() == index.search(query, 4).scores.tolist()


def test_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "names.safetensors"
    AliasIndex.build([("大鹏", 0)]).save(path)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(IndexFolderError, match=r"names\.safetensors is damaged"):
        AliasIndex.load(path)
