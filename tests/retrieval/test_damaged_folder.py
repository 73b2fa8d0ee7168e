"""Damaged and crafted index folders: a result or one of our errors, never a crash or a foreign exception."""

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import fuzz_examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from modelscope_plugin.data.records import Entity, Mention
from modelscope_plugin.data.views import ViewSettings
from modelscope_plugin.errors import IndexFolderError, PluginError
from modelscope_plugin.retrieval import EntityIndex
from modelscope_plugin.retrieval.retriever import Retriever

ROWS, DIMENSION = 12, 4
ARRAYS = ("vectors.npy", "offsets.npy", "views.npy", "names.safetensors", "learned.safetensors", "scales.npz")
SEARCHED = ("search_rows.npy", "queries.npy", "vectors.npy")


def make_index(folder: Path, kind: str) -> Path:
    """An index with learnt names that has every file of its kind."""
    rows = 3000 if kind == "approximate" else ROWS
    views = ViewSettings(max_views=2) if kind == "views" else None
    index = EntityIndex(DIMENSION, "model", views=views)
    entities = [Entity(f"q{row:04}", f"名{row % 7}字", (f"别{row}",), (), f"介绍{row}。") for row in range(rows)]
    each = 1 if views is None else 2
    vectors = np.random.default_rng(0).normal(size=(rows * each, DIMENSION)).astype(np.float32)
    spans = [(row, *span) for row in range(rows) for span in ((0, 0), (0, 1))]
    index.add(entities, vectors, None if views is None else np.array(spans, np.int32))
    index.lexicon.learn([Mention("名字真好", 0, 2, ("q0003", "q0005"))])
    if kind == "int8":
        index.tune(vectors, precision="int8")
    if kind == "approximate":
        index.tune(vectors[:50], search="IVF16,SQ8")
    index.save(folder / kind)
    return folder / kind


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("sound")
    return {kind: make_index(folder, kind) for kind in ("int8", "views", "approximate")}


def adapt_manifest(folder: Path) -> None:
    """Record sizes and checksums anew, as somebody would who crafts a folder."""
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    for name in manifest["files"]:
        data = (folder / name).read_bytes()
        manifest["files"][name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")


def use(folder: Path) -> None:
    """Open an index and search it in every way."""
    index = EntityIndex.load(folder)
    queries = np.random.default_rng(1).normal(size=(3, DIMENSION)).astype(np.float32)
    index.search(queries, 5)
    for retrieval in ("lexical", "hybrid"):
        for found in Retriever(index, retrieval).search(queries, ["名3字", "名字", "无"], 5):
            assert all(np.isfinite(candidate.score) for candidate in found)
    index.remove([index.ids[0]])
    index.search(queries, 5)


def random_array(draw: Any, array: Any) -> Any:
    """An array of the same type: random values, often near the borders, or another length."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    changed = np.array(array)
    if draw(st.booleans()) and changed.ndim:
        changed = changed[: draw(st.integers(0, len(changed)))]
    if changed.size and draw(st.booleans()):
        values = random.integers(0, 256, changed.nbytes, np.uint8).view(changed.dtype).reshape(changed.shape)
        return np.ascontiguousarray(values)
    if changed.size:
        flat = changed.reshape(-1)
        limits = (np.iinfo if changed.dtype.kind in "iu" else np.finfo)(changed.dtype)
        odd = [0, 1, -1, ROWS, ROWS + 1, 10**6, 10**9, limits.min, limits.max]
        value = draw(st.sampled_from([one for one in odd if limits.min <= one <= limits.max]))
        flat[random.integers(0, len(flat), draw(st.integers(1, 3)))] = value
    return changed


def replace_array(draw: Any, path: Path) -> None:
    """Replace one array of a file."""
    if path.suffix == ".npy":
        np.save(path, random_array(draw, np.load(path)))
        return
    if path.suffix == ".npz":
        with np.load(path) as file:
            arrays = dict(file)
    else:
        arrays = load_file(path)
    name = draw(st.sampled_from(sorted(arrays)))
    arrays[name] = random_array(draw, arrays[name])
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    else:
        save_file(arrays, path)


def damage_bytes(draw: Any, path: Path) -> None:
    """Flip, cut off, overwrite or append bytes."""
    data = bytearray(path.read_bytes())
    at = draw(st.integers(0, max(0, len(data) - 1)))
    way = draw(st.sampled_from(["flip", "cut", "overwrite", "append", "empty"]))
    if way == "flip" and data:
        data[at] ^= 1 << draw(st.integers(0, 7))
    elif way == "cut":
        del data[at:]
    elif way == "overwrite":
        data[at : at + 8] = draw(st.binary(min_size=1, max_size=16))
    elif way == "append":
        data += draw(st.binary(min_size=1, max_size=64))
    else:
        data.clear()
    path.write_bytes(data)


@settings(max_examples=fuzz_examples(120), suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data(), kind=st.sampled_from(["int8", "views", "approximate"]), is_array=st.booleans())
def test_crafted_folder_gives_a_result_or_an_error_of_ours(
    sound: dict[str, Path], data: st.DataObject, kind: str, is_array: bool
) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "index"
        shutil.copytree(sound[kind], folder)
        arrays = [name for name in (*SEARCHED, *ARRAYS) if (folder / name).exists()]
        # FAISS does not survive every crafted file: its own is safe from damage only (see the next test).
        others = sorted(path.name for path in folder.iterdir() if path.name != "search.faiss")
        name = data.draw(st.sampled_from(arrays if is_array else others))
        (replace_array if is_array else damage_bytes)(data.draw, folder / name)
        try:
            if name != "manifest.json":
                adapt_manifest(folder)
            use(folder)
        except PluginError:
            pass


@pytest.mark.parametrize("kind", ["int8", "views", "approximate"])
@settings(
    max_examples=fuzz_examples(40), suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_flipped_bit_of_any_file_is_named(sound: dict[str, Path], kind: str, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "index"
        shutil.copytree(sound[kind], folder)
        path = folder / data.draw(st.sampled_from(sorted({p.name for p in folder.iterdir()} - {"manifest.json"})))
        content = bytearray(path.read_bytes())
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        path.write_bytes(content)
        with pytest.raises(IndexFolderError, match=f"{path.name} is damaged"):
            EntityIndex.load(folder)


OUT_OF_RANGE = [
    ("names.safetensors", "grams.places", 10**9),
    ("names.safetensors", "grams.places", -(10**9)),
    ("names.safetensors", "grams.starts", 10**9),
    ("names.safetensors", "bearers", 10**9),
    ("learned.safetensors", "starts", -5),
    ("learned.safetensors", "order", 10**9),
]

# Compiled code could end the process; what was said of the folders before that one is known.
_USE_EACH = """
import sys
from pathlib import Path
here = Path(sys.argv[1])
sys.path[:0] = [str(here), str(here.parent)]
from modelscope_plugin.errors import IndexFolderError
from test_damaged_folder import use

for folder in sys.argv[2:]:
    try:
        use(Path(folder))
        print("used", flush=True)
    except IndexFolderError as error:
        print(error, flush=True)
"""


@pytest.mark.process
def test_positions_out_of_range_do_not_end_the_process(sound: dict[str, Path], tmp_path: Path) -> None:
    folders = [tmp_path / str(number) for number in range(len(OUT_OF_RANGE))]
    for folder, (name, array, value) in zip(folders, OUT_OF_RANGE, strict=True):
        shutil.copytree(sound["int8"], folder)
        arrays = load_file(folder / name)
        arrays[array] = np.full_like(arrays[array], value)
        save_file(arrays, folder / name)
        adapt_manifest(folder)
    command = [sys.executable, "-c", _USE_EACH, Path(__file__).parent, *folders]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    said = done.stdout.splitlines()
    assert (done.returncode, len(said)) == (0, len(OUT_OF_RANGE)), OUT_OF_RANGE[len(said) :][:1]
    for line, (name, _, _) in zip(said, OUT_OF_RANGE, strict=True):
        assert name in line


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", ["views", "approximate"])
def test_vectors_that_are_not_finite_are_an_error_when_they_are_searched(
    sound: dict[str, Path], tmp_path: Path, kind: str, value: float
) -> None:
    folder = tmp_path / "index"
    shutil.copytree(sound[kind], folder)
    vectors = np.load(folder / "vectors.npy")
    vectors[:, 1] = value
    np.save(folder / "vectors.npy", vectors)
    adapt_manifest(folder)
    with pytest.raises(IndexFolderError, match=r"vectors\.npy is damaged: a vector holds NaN or infinity"):
        EntityIndex.load(folder).search(np.ones((2, DIMENSION), np.float32), 3)


@pytest.mark.parametrize("ids", ["[]", "{}", "[[]]", "[1]", '[""]', '["q", "q"]', "null", "[" * 100_000])
def test_ids_that_are_not_distinct_texts_are_refused(sound: dict[str, Path], tmp_path: Path, ids: str) -> None:
    folder = tmp_path / "index"
    shutil.copytree(sound["int8"], folder)
    (folder / "ids.json").write_text(ids, encoding="utf-8")
    adapt_manifest(folder)
    with pytest.raises(IndexFolderError):
        EntityIndex.load(folder)
