"""Bulk encoding with real processes, one of them killed in the middle."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import ENTITIES, MENTIONS

from modelscope_plugin.data import Entity
from modelscope_plugin.encoding import EntityEncoder
from modelscope_plugin.encoding.bulk import local
from modelscope_plugin.encoding.bulk.local import LocalBulkEncoder
from modelscope_plugin.errors import InputError

_SCRIPT = """
import sys
from modelscope_plugin.encoding.bulk import local
local.SHARD_SIZE = 3
if __name__ == "__main__":
    with local.LocalBulkEncoder(sys.argv[1], sys.argv[2], device="cpu") as bulk_encoder:
        for shard in bulk_encoder.encode_shards("entity", [f"大鹏{i}" for i in range(900)]):
            print("reused" if shard.is_reused else "encoded", len(shard.items), flush=True)
"""


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of two texts."""
    monkeypatch.setattr(local, "SHARD_SIZE", 2)


@pytest.mark.usefixtures("small_shards")
@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.process)])
def test_shards_are_the_vectors_in_input_order(
    model_folder: Path, encoder: EntityEncoder, tmp_path: Path, processes: int
) -> None:
    with LocalBulkEncoder(model_folder, tmp_path / "shards", processes=processes, device="cpu") as bulk_encoder:
        shards = list(bulk_encoder.encode_shards("entity", iter(ENTITIES[:5])))
    assert [entity for shard in shards for entity in shard.items] == ENTITIES[:5]
    found = np.concatenate([shard.vectors for shard in shards])
    np.testing.assert_allclose(found, encoder.encode_document(ENTITIES[:5]), atol=1e-5)
    assert not any(shard.is_reused for shard in shards)


@pytest.mark.usefixtures("small_shards")
def test_finished_shards_are_not_encoded_again(model_folder: Path, tmp_path: Path) -> None:
    for is_reused in ([False] * 3, [True] * 3):
        with LocalBulkEncoder(model_folder, tmp_path, device="cpu") as bulk_encoder:
            assert [shard.is_reused for shard in bulk_encoder.encode_shards("mention", MENTIONS)] == is_reused


@pytest.mark.usefixtures("small_shards")
def test_only_the_shard_that_changed_is_encoded_again(model_folder: Path, tmp_path: Path) -> None:
    changed = [*ENTITIES[:3], Entity("apple-film", "苹果", ("迷失北京",), ("Work",), "一部电影。"), *ENTITIES[4:]]
    with LocalBulkEncoder(model_folder, tmp_path, device="cpu") as bulk_encoder:
        list(bulk_encoder.encode_shards("entity", ENTITIES))
        assert [shard.is_reused for shard in bulk_encoder.encode_shards("entity", changed)] == [True, False, True]


@pytest.mark.usefixtures("small_shards")
def test_shards_of_another_side_or_window_are_not_taken(model_folder: Path, tmp_path: Path) -> None:
    texts = ["大鹏", "长江"]
    with LocalBulkEncoder(model_folder, tmp_path, device="cpu") as bulk_encoder:
        assert [
            shard.is_reused for side in ("mention", "entity") for shard in bulk_encoder.encode_shards(side, texts)
        ] == [False] * 2  # type: ignore[arg-type]
    with LocalBulkEncoder(model_folder, tmp_path, device="cpu", max_length=20) as bulk_encoder:
        assert [shard.is_reused for shard in bulk_encoder.encode_shards("entity", texts)] == [False]


@pytest.mark.process
def test_killed_run_goes_on_without_encoding_a_shard_twice(
    model_folder: Path, encoder: EntityEncoder, tmp_path: Path
) -> None:
    script, shards = tmp_path / "run.py", tmp_path / "shards"
    script.write_text(_SCRIPT, encoding="utf-8")
    command = [sys.executable, str(script), str(model_folder), str(shards)]
    first = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert first.stdout is not None
    for _ in range(20):
        first.stdout.readline()
    first.send_signal(signal.SIGKILL)
    first.wait(60)
    first.stdout.close()
    # The file being written at that moment has another name.
    finished = len(list(shards.glob("[0-9]*.npy")))
    assert 20 <= finished < 300
    lines = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout.splitlines()
    assert lines == ["reused 3"] * finished + ["encoded 3"] * (300 - finished)
    found = np.concatenate([np.load(file) for file in sorted(shards.glob("[0-9]*.npy"))])
    np.testing.assert_allclose(found, encoder.encode_document([f"大鹏{i}" for i in range(900)]), atol=1e-5)


@pytest.mark.parametrize("processes", [0, -1, 1.5])
def test_bad_number_of_processes_raises(model_folder: Path, tmp_path: Path, processes: object) -> None:
    with pytest.raises(InputError, match="processes="):
        LocalBulkEncoder(model_folder, tmp_path, processes=processes)  # type: ignore[arg-type]


def test_a_foreign_file_among_the_shards_is_refused_before_anything_is_encoded(
    model_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "diary.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match=r"diary\.txt"):
        LocalBulkEncoder(model_folder, tmp_path, device="cpu")
    assert [path.name for path in tmp_path.iterdir()] == ["diary.txt"]


@pytest.mark.parametrize("name", ["diary.txt", "000000-notes.npy", "photos/cat.png", ".hidden"])
def test_what_came_into_the_folder_during_the_run_is_kept(model_folder: Path, tmp_path: Path, name: str) -> None:
    with LocalBulkEncoder(model_folder, tmp_path / "shards", device="cpu") as bulk_encoder:
        list(bulk_encoder.encode_shards("mention", MENTIONS))
        foreign = tmp_path / "shards" / name
        foreign.parent.mkdir(parents=True, exist_ok=True)
        foreign.write_text("mine", encoding="utf-8")
        bulk_encoder.remove_shards()
    assert [path for path in (tmp_path / "shards").rglob("*") if path.is_file()] == [foreign]


def test_removing_shards_leaves_no_folder_behind(model_folder: Path, tmp_path: Path) -> None:
    with LocalBulkEncoder(model_folder, tmp_path / "shards", device="cpu") as bulk_encoder:
        list(bulk_encoder.encode_shards("mention", MENTIONS))
        (tmp_path / "shards" / ".000001-00000000000000000000000000000000.npy.0123abcd.part").mkdir()
        bulk_encoder.remove_shards()
    assert not (tmp_path / "shards").exists()


def test_shards_that_are_a_file_are_refused(model_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "shards").write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match="is a file"):
        LocalBulkEncoder(model_folder, tmp_path / "shards", device="cpu")


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-8])


def empty(file: Path) -> None:
    file.write_bytes(b"")


def change_shape(file: Path) -> None:
    np.save(file, np.load(file)[:, 1:])


def change_dtype(file: Path) -> None:
    np.save(file, np.load(file).astype(np.float64))


def put_nan(file: Path) -> None:
    np.save(file, np.load(file) * np.float32("nan"))


@pytest.mark.usefixtures("small_shards")
@pytest.mark.parametrize(
    ("processes", "damage"),
    [
        *((1, damage) for damage in (truncate, empty, change_shape, change_dtype, put_nan)),
        pytest.param(2, truncate, marks=pytest.mark.process),
    ],
)
def test_a_damaged_shard_is_encoded_again(
    model_folder: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    damage: Callable[[Path], None],
    processes: int,
) -> None:
    with LocalBulkEncoder(model_folder, tmp_path, device="cpu") as bulk_encoder:
        expected = [shard.vectors for shard in bulk_encoder.encode_shards("mention", MENTIONS)]
    damaged = sorted(tmp_path.iterdir())[1]
    damage(damaged)
    with LocalBulkEncoder(model_folder, tmp_path, processes=processes, device="cpu") as bulk_encoder:
        shards = list(bulk_encoder.encode_shards("mention", MENTIONS))
    assert [shard.is_reused for shard in shards] == [True, False, True]
    np.testing.assert_allclose([shard.vectors for shard in shards], expected, atol=1e-6)
    assert f"{damaged} is damaged" in caplog.text


@pytest.mark.process
def test_script_without_a_main_guard_is_told(model_folder: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\nfrom modelscope_plugin.encoding.bulk.local import LocalBulkEncoder\n"
        "with LocalBulkEncoder(*sys.argv[1:], processes=2, device='cpu') as bulk_encoder:\n"
        "    list(bulk_encoder.encode_shards('entity', ['大鹏']))\n"
    )
    result = subprocess.run(
        [sys.executable, script, model_folder, tmp_path / "shards"],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert result.returncode == 1
    assert 'InputError: a script with processes=2 needs its work under if __name__ == "__main__":' in result.stderr
    assert "WorkerError: a process that encodes died" in result.stderr.strip().splitlines()[-1]
