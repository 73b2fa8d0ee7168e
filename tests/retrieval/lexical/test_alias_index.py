from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from modelscope_plugin.errors import IndexFolderError
from modelscope_plugin.retrieval.lexical import AliasIndex
from modelscope_plugin.retrieval.lexical.alias_index import MAX_NAME

NAME = st.text(alphabet="大鹏鲲a1", min_size=1, max_size=5)
NAMES = st.lists(NAME, min_size=1, max_size=12, unique=True)


def grams(name: str) -> list[str]:
    return [*name, *(name[place : place + 2] for place in range(len(name) - 1))]


def order_of(ids: list[str]) -> np.ndarray:
    return np.array(sorted(range(len(ids)), key=ids.__getitem__), np.int32)


def likeness(query: str, names: list[str]) -> list[float]:
    """The formula, name by name."""
    frequency = Counter(gram for name in names for gram in set(grams(name)))

    def weight(shared: set[str]) -> float:
        return sum(np.log(1 + len(names) / (frequency[gram] + 0.5)) / len(gram) for gram in shared)

    asked = set(grams(query))
    return [
        2 / 3 * weight(asked & set(grams(name))) / weight(asked)
        + 1 / 3 * weight(asked & set(grams(name))) / weight(set(grams(name)))
        for name in names
    ]


@given(names=NAMES, query=NAME)
def test_likeness_is_that_of_the_formula(names: list[str], query: str) -> None:
    index = AliasIndex.build((name, row) for row, name in enumerate(names))
    found = index.search(query, 3).of(np.arange(len(names)))
    np.testing.assert_allclose(found, likeness(query, names), rtol=1e-4, atol=1e-6)


@given(
    bearers=st.lists(st.tuples(NAME, st.integers(0, 7)), min_size=1, max_size=30),
    query=NAME,
    ids=st.permutations(range(8)),
)
def test_best_rows_are_those_of_a_full_comparison_and_equal_ones_go_by_id(
    bearers: list[tuple[str, int]], query: str, ids: list[int]
) -> None:
    index = AliasIndex.build(bearers, order_of([str(one) for one in ids]))
    names = sorted({name for name, _ in bearers})
    share = dict(zip(names, likeness(query, names), strict=True))
    wanted = [max((share[name] for name, bearer in bearers if bearer == row), default=0.0) for row in range(8)]
    everything = index.search(query, 1000)
    shares = everything.of(np.arange(8))
    np.testing.assert_allclose(shares, wanted, rtol=1e-4, atol=1e-6)
    order = sorted(np.flatnonzero(shares).tolist(), key=lambda row: (-shares[row], str(ids[row])))
    assert everything.rows.tolist() == order
    assert everything.shares.tolist() == shares[order].tolist()
    for top_k in range(1, 9):
        assert index.search(query, top_k).rows.tolist() == order[:top_k]


DRAW = random.Random(0)
MANY = AliasIndex.build(
    ("".join(DRAW.choices("大鹏鲲鸟飞天在北冥", k=DRAW.randint(1, 7))), DRAW.randrange(300)) for _ in range(2000)
)


@given(query=st.text(alphabet="大鹏鲲鸟飞天", min_size=1, max_size=6), top_k=st.integers(1, 40))
def test_first_of_many_are_the_beginning_of_all(query: str, top_k: int) -> None:
    assert MANY.search(query, top_k).rows.tolist() == MANY.search(query, 1000).rows.tolist()[:top_k]


@given(names=NAMES, query=NAME)
def test_likeness_is_a_share(names: list[str], query: str) -> None:
    index = AliasIndex.build(((name, row) for row, name in enumerate(names)), np.arange(13, dtype=np.int32))
    shares = index.search(query, 3).of(np.arange(len(names) + 1))
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
    assert index.search("苹", 3).of(np.array([0]))[0] < 0.9


def test_a_name_that_has_all_characters_of_the_mention_is_liker_than_a_short_one_that_has_some() -> None:
    index = AliasIndex.build([("北大西洋公约组织", 0), ("北京", 1), ("南约翰", 2)])
    assert index.search("北约", 3).rows.tolist()[0] == 0


def test_names_of_the_same_grams_are_not_the_same() -> None:
    index = AliasIndex.build([("哈哈", 0), ("哈哈哈哈", 1)])
    likeness = index.search("哈哈", 2).of(np.arange(2)).tolist()
    assert likeness[0] == 1
    assert 0.99 < likeness[1] < 1
    assert max(index.search("哈哈哈", 2).shares.tolist()) < 1


def test_a_character_that_all_names_have_still_tells_names_by_their_length() -> None:
    letters = [chr(0x4E00 + number) for number in range(1000)]
    names = ["".join(["无", *letters[start : start + 1 + start % 5]]) for start in range(990)]
    index = AliasIndex.build((name, row) for row, name in enumerate(names))
    found = index.search("无", 990)
    lengths = [len(names[row]) for row in found.rows.tolist()]
    assert lengths[:100] == [2] * 100
    assert found.shares[0] > found.shares[-1]


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


def test_a_name_of_a_megabyte_is_compared_in_its_beginning_and_exact_as_a_whole() -> None:
    index = AliasIndex.build([("大鹏" * 500_000, 0), ("大鹏" * MAX_NAME, 1)])
    assert set(index.search("大鹏" * 600_000, 2).rows.tolist()) == {0, 1}
    assert index.exact("大鹏" * 500_000).tolist() == [0]
    assert index.exact("大鹏" * MAX_NAME).tolist() == [1]
    assert index.exact("大鹏" * 600_000).tolist() == []


def test_what_bears_the_mention_is_said_of_any_rows() -> None:
    index = AliasIndex.build([("大鹏", 0), ("鹏", 1), ("大 鹏", 3)], order_of(["d", "c", "b", "a"]))
    assert index.exact("大鹏").tolist() == [3, 0]
    assert index.exact("大鹏", 1).tolist() == [3]
    assert index.search("大鹏", 1).exact(np.array([3, 1, 2, 0])).tolist() == [True, False, False, True]
    assert index.search("大", 1).exact(np.arange(4)).tolist() == [False] * 4


def test_a_name_of_very_many_rows_brings_in_the_first_by_id() -> None:
    index = AliasIndex.build([("无名", row) for row in range(20_000)] + [("无名氏", 20_000)])
    assert index.search("无名", 3).rows.tolist() == [0, 1, 2]
    assert index.search("名氏", 2).rows.tolist() == [20_000, 0]


def test_names_that_are_equally_like_are_cut_by_id() -> None:
    order = order_of([f"{-row}" for row in range(5000)])
    index = AliasIndex.build([(f"鹏{chr(0x4E00 + row)}", row) for row in range(5000)], order)
    assert index.search("鹏", 5).rows.tolist() == order[:5].tolist()


def test_empty_index_finds_nothing() -> None:
    index = AliasIndex.build([("", 0), (" ", 1)])
    assert (len(index), index.search("大鹏", 3).rows.tolist(), index.exact("大鹏").tolist()) == (0, [], [])


@given(names=NAMES, query=NAME)
def test_saved_index_is_the_same(names: list[str], query: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("names") / "names.safetensors"
    index = AliasIndex.build((name, row) for row, name in enumerate(names))
    index.save(path)
    other = AliasIndex.parse(path.read_bytes(), path, len(index.order))
    assert list(other.pairs()) == list(index.pairs())
    assert other.search(query, 4).shares.tolist() == index.search(query, 4).shares.tolist()


def test_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "names.safetensors"
    AliasIndex.build([("大鹏", 0)]).save(path)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(IndexFolderError, match=r"names\.safetensors is damaged"):
        AliasIndex.parse(path.read_bytes(), path, 1)


def test_file_with_the_weights_of_an_earlier_version_is_read_without_them(tmp_path: Path) -> None:
    path = tmp_path / "names.safetensors"
    index = AliasIndex.build([("大鹏", 0), ("大鹏鸟", 1), ("鲲鹏", 2)])
    index.save(path)
    arrays = load_file(path)
    earlier = {
        "grams.weights": np.full(len(arrays["grams.places"]), 7, np.float32),
        "grams.selves": np.full(3, 9, np.float32),
    }
    save_file(arrays | earlier, path)
    opened = AliasIndex.parse(path.read_bytes(), path, 3)
    assert opened.search("大鹏", 3).shares.tolist() == index.search("大鹏", 3).shares.tolist()


def test_name_without_grams_in_a_crafted_file_is_like_nothing(tmp_path: Path) -> None:
    path = tmp_path / "names.safetensors"
    AliasIndex.build([("大", 0), ("鹏", 1)]).save(path)
    arrays = load_file(path)
    for field, length in (("vocabulary", 1), ("starts", 2), ("places", 1)):  # those of 大
        arrays[f"grams.{field}"] = arrays[f"grams.{field}"][:length]
    save_file(arrays, path)
    found = AliasIndex.parse(path.read_bytes(), path, 2).search("大", 2)
    assert found.of(np.arange(2)).tolist() == [1, 0]


def test_file_of_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "names.safetensors"
    AliasIndex.build([("大鹏", 0)]).save(path)
    arrays = load_file(path)
    del arrays["order"]
    save_file(arrays, path)
    with pytest.raises(IndexFolderError, match="was written by another version of this package; build the index again"):
        AliasIndex.parse(path.read_bytes(), path, 1)
