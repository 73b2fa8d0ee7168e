import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelscope_plugin.data.records import Entity
from modelscope_plugin.errors import IndexFolderError, IndexMismatchError, InputError, MissingFileError
from modelscope_plugin.retrieval import index_folder
from modelscope_plugin.retrieval.candidate import Candidate
from modelscope_plugin.retrieval.entity_index import EntityIndex
from modelscope_plugin.types import Vectors

FILES = ("vectors.npy", "entities.jsonl", "names.safetensors", "offsets.npy", "ids.json")

SMALL_VECTORS = st.integers(1, 3).flatmap(
    lambda dimension: st.tuples(
        st.lists(st.lists(st.integers(-1, 1), min_size=dimension, max_size=dimension), max_size=40),
        st.lists(st.lists(st.integers(-2, 2), min_size=dimension, max_size=dimension), min_size=1, max_size=3),
        st.just(dimension),
    )
)
FIELD = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
FILLED = FIELD.filter(str.strip)
STRIPPED = FILLED.map(str.strip)
ENTITIES = st.builds(
    Entity,
    FILLED,
    FILLED,
    st.lists(STRIPPED, max_size=3).map(tuple),
    st.lists(STRIPPED, max_size=3).map(tuple),
    FIELD,
    st.lists(st.tuples(FIELD, FIELD), max_size=3).map(tuple),
)


def entity(id: str) -> Entity:
    return Entity(id, f"名{id}", (f"别{id}",), ("Person",), f"介绍{id}")


def floats(values: Any, dimension: int | None = None) -> Vectors:
    array = np.array(values, dtype=np.float32)
    return array if dimension is None else array.reshape(-1, dimension)


def normal(rows: int, dimension: int = 4, seed: int = 0) -> Vectors:
    return np.random.default_rng(seed).normal(size=(rows, dimension)).astype(np.float32)


def index_of(ids: list[str], vectors: Vectors) -> EntityIndex:
    index = EntityIndex(vectors.shape[1], "指纹", "model/folder")
    index.add([entity(key) for key in ids], vectors)
    return index


def shuffled_ids(count: int, seed: int = 5) -> list[str]:
    return [f"{number:05}" for number in np.random.default_rng(seed).permutation(count)]


def reference(ids: list[str], vectors: Vectors, queries: Vectors, k: int) -> list[list[tuple[str, float]]]:
    scores = (queries.astype(np.float64) @ vectors.astype(np.float64).T).astype(np.float32)
    return [sorted(zip(ids, row.tolist(), strict=True), key=lambda pair: (-pair[1], pair[0]))[:k] for row in scores]


def found(index: EntityIndex, queries: Vectors, k: int) -> list[list[tuple[str, float]]]:
    return [[(candidate.id, candidate.score) for candidate in row] for row in index.search(queries, k)]


def content(index: EntityIndex) -> list[tuple[Entity, list[float]]]:
    rows = [(each, vector.tolist()) for each, vector in zip(index, index.vectors, strict=True)]
    return sorted(rows, key=lambda row: row[0].id)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    index_of(["a", "b", "c"], normal(3)).save(tmp_path / "kb")
    return tmp_path / "kb"


@settings(deadline=None, max_examples=150)
@given(SMALL_VECTORS, st.integers(1, 45), st.integers(0, 100))
def test_search_equals_numpy_with_ties_ordered_by_id(
    case: tuple[list[list[int]], list[list[int]], int], k: int, seed: int
) -> None:
    rows, queries, dimension = case
    ids, vectors = shuffled_ids(len(rows), seed), floats(rows, dimension)
    assert found(index_of(ids, vectors), floats(queries), k) == reference(ids, vectors, floats(queries), k)


@pytest.mark.parametrize("k", [1, 16, 300, 1000])
def test_search_equals_numpy_on_many_vectors(k: int) -> None:
    ids, vectors, queries = shuffled_ids(1000), normal(1000, 16), normal(30, 16, seed=1)
    expected = [[key for key, _ in row] for row in reference(ids, vectors, queries, k)]
    assert [[key for key, _ in row] for row in found(index_of(ids, vectors), queries, k)] == expected


def test_search_gives_the_scores_of_numpy() -> None:
    ids, vectors, queries = shuffled_ids(1000), normal(1000, 16), normal(30, 16, seed=1)
    _, rows = index_of(ids, vectors).search_rows(queries, 5)
    expected = np.take_along_axis(queries @ vectors.T, rows, axis=1)
    np.testing.assert_allclose(index_of(ids, vectors).search_rows(queries, 5)[0], expected, rtol=1e-4)


@pytest.mark.parametrize("k", [1, 5, 299])
def test_search_orders_equal_vectors_by_id_also_at_the_last_place(k: int) -> None:
    ids, vectors = shuffled_ids(300), np.tile(normal(1, 32), (300, 1))
    assert [key for key, _ in found(index_of(ids, vectors), normal(1, 32, seed=1), k)[0]] == sorted(ids)[:k]


def test_search_puts_better_entities_before_the_tied_ones_at_the_last_place() -> None:
    ids = shuffled_ids(300)
    vectors = np.tile(floats([[1, 0]]), (300, 1))
    vectors[:3] = [[4, 0], [3, 0], [2, 0]]
    expected = [*ids[:3], *sorted(ids[3:])[:7]]
    assert [key for key, _ in found(index_of(ids, vectors), floats([[1, 1]]), 10)[0]] == expected


def test_search_does_not_lose_entities_behind_many_ties() -> None:
    ids = shuffled_ids(300)
    vectors = np.tile(floats([[1, 0]]), (300, 1))
    vectors[40:] = [[0, 1]]
    expected = [*sorted(ids[:40]), *sorted(ids[40:])[:60]]
    assert [key for key, _ in found(index_of(ids, vectors), floats([[1, 0]]), 100)[0]] == expected


def test_search_orders_ties_of_zero_queries_by_id() -> None:
    ids = shuffled_ids(100)
    assert [key for key, _ in found(index_of(ids, normal(100)), floats([[0, 0, 0, 0]]), 5)[0]] == sorted(ids)[:5]


@pytest.mark.parametrize("dimension", [3, 64, 768])
def test_search_does_not_depend_on_how_many_queries_go_together(dimension: int) -> None:
    vectors = normal(400, dimension)
    vectors[100:200] = vectors[0]
    index, queries = index_of(shuffled_ids(400), vectors), normal(64, dimension, seed=1)
    together = index.search(queries, 20)
    assert together == [index.search(queries[row : row + 1], 20)[0] for row in range(64)]


def test_search_does_not_depend_on_the_order_of_the_entities() -> None:
    vectors, ids = normal(400, 64), shuffled_ids(400)
    vectors[100:200] = vectors[0]
    order = np.random.default_rng(3).permutation(400)
    other = index_of([ids[row] for row in order], vectors[order])
    queries = normal(10, 64, seed=1)
    assert other.search(queries, 30) == index_of(ids, vectors).search(queries, 30)


def test_search_tells_close_scores_apart_under_a_large_common_part() -> None:
    common = normal(1, 64) * 100
    vectors = common + normal(500, 64, seed=1) * np.float32(0.1)
    queries = common + normal(10, 64, seed=2) * 30
    ids = shuffled_ids(500)
    expected = [[key for key, _ in row] for row in reference(ids, vectors, queries, 16)]
    assert [[key for key, _ in row] for row in found(index_of(ids, vectors), queries, 16)] == expected


def test_search_gives_candidates_with_name_score_and_rank() -> None:
    index = index_of(["a", "b"], floats([[1, 0], [2, 0]]))
    assert index.search(floats([[3, 5]]), 2) == [[Candidate("b", "名b", 6.0, 1), Candidate("a", "名a", 3.0, 2)]]


def test_search_for_more_than_there_are_gives_all() -> None:
    index = index_of(["b", "a"], floats([[1, 0], [1, 0]]))
    assert [candidate.id for candidate in index.search(floats([[1, 0]]), 10**9)[0]] == ["a", "b"]


def test_search_of_an_empty_index_gives_no_candidates() -> None:
    assert EntityIndex(2, "指纹").search(floats([[1, 0], [0, 1]]), 5) == [[], []]


def test_search_for_no_query_gives_nothing() -> None:
    assert index_of(["a"], floats([[1, 0]])).search(np.empty((0, 2), np.float32), 5) == []


def test_search_rows_has_the_shape_of_what_there_is() -> None:
    scores, rows = index_of(["a", "b"], floats([[1, 0], [0, 1]])).search_rows(floats([[1, 0]] * 3), 5)
    assert (scores.shape, scores.dtype, rows.shape, rows.dtype) == ((3, 2), np.float32, (3, 2), np.int64)


def test_search_takes_queries_of_any_memory_layout() -> None:
    index, queries = index_of(shuffled_ids(20), normal(20)), normal(6, seed=1)
    assert index.search(np.asfortranarray(queries), 3) == index.search(queries, 3)


@pytest.mark.parametrize("top_k", [0, -1])
def test_search_refuses_a_top_k_below_one(top_k: int) -> None:
    with pytest.raises(InputError, match=f"top_k={top_k} must be an integer of at least 1"):
        index_of(["a"], floats([[1, 0]])).search(floats([[1, 0]]), top_k)


@pytest.mark.parametrize("shape", [(1, 3), (2,), (1, 1, 2), (0, 3)])
def test_search_refuses_queries_of_another_dimension(shape: tuple[int, ...]) -> None:
    with pytest.raises(IndexMismatchError, match="do not fit the index of dimension 2"):
        index_of(["a"], floats([[1, 0]])).search(np.ones(shape, np.float32), 1)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_search_refuses_queries_that_are_not_finite(value: float) -> None:
    with pytest.raises(InputError, match="NaN or infinity"):
        index_of(["a"], floats([[1, 0]])).search(floats([[1, value]]), 1)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_add_refuses_vectors_that_are_not_finite(value: float) -> None:
    with pytest.raises(InputError, match="NaN or infinity"):
        index_of(["a", "b"], floats([[1, 0], [0, value]]))


def test_add_refuses_vectors_that_are_not_finite_as_float32() -> None:
    with pytest.raises(InputError, match="NaN or infinity"), np.errstate(over="ignore"):
        EntityIndex(2, "指纹").add([entity("a")], np.array([[1e300, 0]]))  # type: ignore[arg-type]


def test_add_refuses_vectors_of_another_dimension() -> None:
    with pytest.raises(IndexMismatchError, match="do not fit the index of dimension 2"):
        EntityIndex(2, "指纹").add([entity("a")], floats([[1, 0, 0]]))


def test_add_refuses_another_number_of_vectors() -> None:
    with pytest.raises(InputError, match="1 entities and 2 vectors"):
        EntityIndex(2, "指纹").add([entity("a")], floats([[1, 0], [0, 1]]))


def test_add_refuses_an_id_that_stands_twice() -> None:
    with pytest.raises(InputError, match="id 'a' stands twice"):
        EntityIndex(1, "指纹").add([entity("b"), entity("a"), entity("a")], floats([[1], [2], [3]]))


def test_add_that_is_refused_leaves_the_index_as_it_was() -> None:
    index = index_of(["a", "b"], floats([[1], [2]]))
    before = content(index)
    with pytest.raises(InputError):
        index.add([entity("a"), entity("c"), entity("c")], floats([[5], [6], [7]]))
    assert content(index) == before


def test_add_keeps_a_copy_of_the_vectors() -> None:
    vectors = floats([[1, 0], [0, 1]])
    index = index_of(["a", "b"], vectors)
    vectors[:] = 7
    assert index.vectors.tolist() == [[1, 0], [0, 1]]


def test_add_of_nothing_changes_nothing() -> None:
    index = index_of(["a"], floats([[1, 0]]))
    index.add([], np.empty((0, 2), np.float32))
    assert index.ids == ["a"]


def test_add_in_parts_equals_adding_at_once() -> None:
    ids, vectors = shuffled_ids(10), normal(10)
    index = EntityIndex(4, "指纹")
    for start in range(0, 10, 3):
        index.add([entity(key) for key in ids[start : start + 3]], vectors[start : start + 3])
    assert content(index) == content(index_of(ids, vectors))


def test_add_replaces_the_entity_and_the_vector_of_a_known_id() -> None:
    index = index_of(["a", "b"], floats([[1], [2]]))
    index.add([Entity("a", "新名")], floats([[9]]))
    assert content(index) == [(Entity("a", "新名"), [9.0]), (entity("b"), [2.0])]


def test_remove_equals_a_build_without_the_entity() -> None:
    index = index_of(["a", "b", "c"], normal(3))
    index.remove(["b", "b"])
    assert content(index) == content(index_of(["a", "c"], normal(3)[[0, 2]]))


def test_remove_takes_the_entity_out_of_the_results() -> None:
    index = index_of(["a", "b", "c"], floats([[3], [2], [1]]))
    index.remove(["a"])
    assert [candidate.id for candidate in index.search(floats([[1]]), 3)[0]] == ["b", "c"]


def test_remove_of_everything_leaves_an_index_that_can_be_filled_again() -> None:
    index = index_of(["a", "b"], floats([[1], [2]]))
    index.remove(["b", "a"])
    index.add([entity("b")], floats([[5]]))
    assert content(index) == [(entity("b"), [5.0])]


def test_remove_refuses_an_unknown_id_and_removes_nothing() -> None:
    index = index_of(["a", "b"], floats([[1], [2]]))
    with pytest.raises(InputError, match=r"no entity 'x' in the index \(2 of 3 ids are not there\)"):
        index.remove(["a", "x", "y"])
    assert index.ids == ["a", "b"]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.booleans(), st.sets(st.integers(0, 9), max_size=5)), max_size=6))
def test_any_changes_equal_a_fresh_build(changes: list[tuple[bool, set[int]]]) -> None:
    index, expected = EntityIndex(2, "指纹"), dict[str, tuple[Entity, list[float]]]()
    for turn, (adding, numbers) in enumerate(changes):
        ids = [str(number) for number in sorted(numbers)]
        if adding:
            entities = [Entity(key, f"第{turn}次") for key in ids]
            index.add(entities, floats([[turn, int(key)] for key in ids], 2))
            expected |= {each.id: (each, [float(turn), float(each.id)]) for each in entities}
        else:
            index.remove(key for key in ids if key in expected)
            expected = {key: row for key, row in expected.items() if key not in ids}
    assert content(index) == [expected[key] for key in sorted(expected)]


def test_index_iterates_over_its_entities_by_row() -> None:
    index = index_of(["b", "a"], floats([[1], [2]]))
    assert (list(index), index[1], index.ids, len(index)) == ([entity("b"), entity("a")], entity("a"), ["b", "a"], 2)


def test_check_model_accepts_the_model_of_the_index() -> None:
    assert EntityIndex(2, "指纹").check_model("指纹") is None


def test_check_model_refuses_another_model_and_names_both() -> None:
    with pytest.raises(IndexMismatchError, match=r"model/folder, fingerprint 指纹\) than my/model \(fingerprint 另\)"):
        EntityIndex(2, "指纹", "model/folder").check_model("另", "my/model")


def test_load_gives_back_what_was_saved(saved: Path) -> None:
    assert content(EntityIndex.load(saved)) == content(index_of(["a", "b", "c"], normal(3)))


def test_load_gives_back_dimension_and_model(saved: Path) -> None:
    index = EntityIndex.load(saved)
    assert (index.dimension, index.fingerprint, index.model) == (4, "指纹", "model/folder")


def test_load_searches_like_the_index_that_was_saved(tmp_path: Path) -> None:
    index, queries = index_of(shuffled_ids(200), normal(200)), normal(5, seed=1)
    index.save(tmp_path / "kb")
    assert EntityIndex.load(tmp_path / "kb", verify=True).search(queries, 7) == index.search(queries, 7)


@settings(deadline=None, max_examples=30)
@given(entities=st.lists(ENTITIES, max_size=4, unique_by=lambda each: each.id))
def test_load_gives_back_entities_of_any_text(tmp_path_factory: pytest.TempPathFactory, entities: list[Entity]) -> None:
    index = EntityIndex(1, "指纹")
    index.add(entities, np.ones((len(entities), 1), np.float32))
    folder = tmp_path_factory.mktemp("index") / "kb"
    index.save(folder)
    assert list(EntityIndex.load(folder)) == entities


def test_load_gives_back_line_breaks_and_emoji(tmp_path: Path) -> None:
    given = Entity("😀\n1", "第一行\r\n第二行\u2028", ("制\t表", "👨‍👩‍👧"), (), "\x00\x1f\n\n", (("键\n", "值😀"),))
    index = EntityIndex(1, "指纹")
    index.add([entity("a"), given, entity("b")], floats([[1], [2], [3]]))
    index.save(tmp_path / "kb")
    assert list(EntityIndex.load(tmp_path / "kb")) == [entity("a"), given, entity("b")]


@pytest.mark.parametrize(
    "given",
    [
        Entity("a", ""),
        Entity("a", " "),
        Entity("", "大鹏"),
        Entity("a", "大鹏", (" 鹏鹏 ", "")),
        Entity("a", "笑脸\ud83d"),
    ],
    ids=["no name", "blank name", "no id", "blanks around an alias", "half a surrogate pair"],
)
def test_load_gives_back_every_entity_that_add_accepts(tmp_path: Path, given: Entity) -> None:
    index = EntityIndex(1, "指纹")
    try:
        index.add([given], floats([[1]]))
    except InputError:
        return
    index.save(tmp_path / "kb")
    assert list(EntityIndex.load(tmp_path / "kb")) == [given]


def test_load_gives_back_an_empty_index(tmp_path: Path) -> None:
    EntityIndex(3, "指纹").save(tmp_path / "kb")
    index = EntityIndex.load(tmp_path / "kb", verify=True)
    assert (len(index), index.search(np.ones((1, 3), np.float32), 2)) == (0, [[]])


def test_loaded_index_changed_and_saved_in_its_place_holds_the_changes(saved: Path) -> None:
    index = EntityIndex.load(saved)
    index.remove(["a"])
    index.add([Entity("b", "新名"), entity("d")], normal(2, seed=1))
    expected = content(index)
    index.save(saved)
    assert (content(EntityIndex.load(saved, verify=True)), content(index)) == (expected, expected)


def test_loaded_index_survives_the_loss_of_its_folder_in_another_save(saved: Path) -> None:
    index = EntityIndex.load(saved)
    before = content(index)
    index_of(["x"], normal(1)).save(saved)
    assert content(index) == before


def test_changes_of_a_loaded_index_leave_the_folder_alone(saved: Path) -> None:
    index = EntityIndex.load(saved)
    index.remove(["a"])
    assert EntityIndex.load(saved, verify=True).ids == ["a", "b", "c"]


def test_save_takes_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "kb").mkdir()
    index_of(["a"], normal(1)).save(tmp_path / "kb")
    assert EntityIndex.load(tmp_path / "kb").ids == ["a"]


def test_save_makes_the_folders_above(tmp_path: Path) -> None:
    index_of(["a"], normal(1)).save(str(tmp_path / "x" / "y" / "kb"))
    assert EntityIndex.load(tmp_path / "x" / "y" / "kb").ids == ["a"]


def test_save_writes_equal_files_for_equal_indexes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        index_of(["a", "b"], normal(2)).save(tmp_path / name)
    one, two = ([(tmp_path / name / file).read_bytes() for file in FILES] for name in ("one", "two"))
    assert one == two


def test_save_leaves_nothing_else_beside_the_folder(saved: Path) -> None:
    index_of(["x"], normal(1)).save(saved)
    assert (os.listdir(saved.parent), sorted(os.listdir(saved))) == (["kb"], sorted([*FILES, "manifest.json"]))


@pytest.mark.parametrize("step", ["replace_folder", "write_manifest"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_save_that_fails_leaves_the_earlier_index(
    saved: Path, monkeypatch: pytest.MonkeyPatch, step: str, error: BaseException
) -> None:
    def fail(*args: object) -> None:
        raise error

    monkeypatch.setattr(index_folder, step, fail)
    with pytest.raises(type(error)):
        index_of(["x"], normal(1)).save(saved)
    monkeypatch.undo()
    assert EntityIndex.load(saved, verify=True).ids == ["a", "b", "c"]


@pytest.mark.parametrize("step", ["replace_folder", "write_manifest"])
def test_save_that_fails_leaves_no_stray_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    def fail(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(index_folder, step, fail)
    with pytest.raises(OSError, match="No space left"):
        index_of(["x"], normal(1)).save(tmp_path / "kb")
    assert os.listdir(tmp_path) == []


def test_save_refuses_a_folder_that_is_no_index(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("要紧", encoding="utf-8")
    with pytest.raises(InputError, match="holds other files"):
        index_of(["a"], normal(1)).save(tmp_path)
    assert os.listdir(tmp_path) == ["notes.txt"]


def test_save_refuses_a_folder_with_the_manifest_of_another_program(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"manifest_version": 3, "name": "浏览器扩展"}', encoding="utf-8")
    (tmp_path / "background.js").write_text("要紧", encoding="utf-8")
    with pytest.raises(InputError):
        index_of(["a"], normal(1)).save(tmp_path)


def test_save_does_not_lose_a_file_put_beside_an_index(saved: Path) -> None:
    (saved / "notes.txt").write_text("要紧", encoding="utf-8")
    with pytest.raises(InputError):
        index_of(["x"], normal(1)).save(saved)


def test_save_refuses_a_file(tmp_path: Path) -> None:
    (tmp_path / "kb").write_text("要紧", encoding="utf-8")
    with pytest.raises(InputError, match="is a file"):
        index_of(["a"], normal(1)).save(tmp_path / "kb")


def test_load_refuses_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="there is no index in"):
        EntityIndex.load(tmp_path / "none")


def test_load_refuses_a_folder_without_manifest(saved: Path) -> None:
    (saved / "manifest.json").unlink()
    with pytest.raises(MissingFileError, match=r"no manifest\.json"):
        EntityIndex.load(saved)


def test_load_refuses_a_file(saved: Path) -> None:
    with pytest.raises(MissingFileError):
        EntityIndex.load(saved / "manifest.json")


@pytest.mark.parametrize("name", FILES)
def test_load_names_a_missing_file(saved: Path, name: str) -> None:
    (saved / name).unlink()
    with pytest.raises(IndexFolderError, match=f"{name} is missing"):
        EntityIndex.load(saved)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data + b"x", lambda data: b""])
def test_load_names_a_file_of_another_size(saved: Path, name: str, change: Callable[[bytes], bytes]) -> None:
    (saved / name).write_bytes(change((saved / name).read_bytes()))
    with pytest.raises(IndexFolderError, match=f"{name} is damaged"):
        EntityIndex.load(saved)


@pytest.mark.parametrize(
    ("name", "verify"), [*zip(FILES, [True] * 5, strict=True), *zip(FILES[3:], [False] * 2, strict=True)]
)
def test_load_names_a_file_with_a_flipped_bit(saved: Path, name: str, verify: bool) -> None:
    data = bytearray((saved / name).read_bytes())
    data[-1] ^= 1
    (saved / name).write_bytes(data)
    with pytest.raises(IndexFolderError, match=f"{name} is damaged"):
        EntityIndex.load(saved, verify=verify)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"\x93NUMPY", b"XXXXXX"),
        (b"{'descr'", b"{{{{{{{{"),
        (b"'<f4'", b"'<i4'"),
        (b"'<f4'", b"'<f8'"),
        (b"(3, 4)", b"(4, 3)"),
        (b"'fortran_order': False", b"'fortran_order': True "),
    ],
    ids=["magic", "syntax", "integers", "doubles", "shape", "order"],
)
def test_load_refuses_a_damaged_head_of_the_vectors(saved: Path, old: bytes, new: bytes) -> None:
    data = (saved / "vectors.npy").read_bytes()
    assert old in data[:128]
    (saved / "vectors.npy").write_bytes(data.replace(old, new, 1))
    with pytest.raises(IndexFolderError):
        EntityIndex.load(saved)


@pytest.mark.parametrize("damage", [b"\xff", b" ", b"{"])
def test_damaged_entities_are_an_index_error_when_they_are_read(saved: Path, damage: bytes) -> None:
    size = (saved / "entities.jsonl").stat().st_size
    (saved / "entities.jsonl").write_bytes(damage * size)
    with pytest.raises(IndexFolderError):
        EntityIndex.load(saved).search(normal(1), 1)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "5", '"manifest"', "{}", '{"version": 1}', "\xff"])
def test_load_refuses_a_damaged_manifest(saved: Path, text: str) -> None:
    (saved / "manifest.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(IndexFolderError, match=r"manifest\.json"):
        EntityIndex.load(saved)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("files", None),
        ("files", []),
        ("files", {"vectors.npy": {}}),
        ("files", {"vectors.npy": None}),
        ("dimension", "4"),
        ("dimension", None),
        ("dimension", -4),
        ("dimension", 5),
        ("entities", 2),
        ("entities", "3"),
    ],
)
def test_load_refuses_a_manifest_with_a_wrong_value(saved: Path, key: str, value: Any) -> None:
    manifest = json.loads((saved / "manifest.json").read_text(encoding="utf-8"))
    (saved / "manifest.json").write_text(json.dumps(manifest | {key: value}), encoding="utf-8")
    with pytest.raises(IndexFolderError):
        EntityIndex.load(saved)


def test_load_refuses_a_manifest_that_lists_no_files_where_they_are_missing(saved: Path) -> None:
    manifest = json.loads((saved / "manifest.json").read_text(encoding="utf-8"))
    (saved / "manifest.json").write_text(json.dumps(manifest | {"files": {}}), encoding="utf-8")
    (saved / "ids.json").unlink()
    with pytest.raises(IndexFolderError):
        EntityIndex.load(saved)


@pytest.mark.parametrize("key", ["version", "files", "entities", "dimension", "fingerprint", "model"])
def test_load_refuses_a_manifest_without_a_key(saved: Path, key: str) -> None:
    manifest = json.loads((saved / "manifest.json").read_text(encoding="utf-8"))
    del manifest[key]
    (saved / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(IndexFolderError, match=key):
        EntityIndex.load(saved)


def test_load_refuses_a_newer_version(saved: Path) -> None:
    manifest = json.loads((saved / "manifest.json").read_text(encoding="utf-8"))
    (saved / "manifest.json").write_text(json.dumps(manifest | {"version": 3}), encoding="utf-8")
    with pytest.raises(IndexFolderError, match="is of version 3, this package reads version 2"):
        EntityIndex.load(saved)


def test_load_brings_back_an_index_that_a_killed_process_was_about_to_replace(saved: Path) -> None:
    count = len(EntityIndex.load(saved))
    saved.rename(saved.with_name(f".{saved.name}.0123abcd.earlier"))
    assert len(EntityIndex.load(saved)) == count
