import json
from pathlib import Path

import pytest

from modelscope_plugin.errors import MissingFileError
from modelscope_plugin.storage.atomic_write import check_output_folder
from modelscope_plugin.storage.inventory import find_difference, list_files
from modelscope_plugin.storage.locks import lock_folder


def test_lock_makes_no_folder_for_a_mistyped_path(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="there is no folder"), lock_folder(tmp_path / "none" / "index"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_lock_that_was_released_can_be_taken_again(tmp_path: Path) -> None:
    for _ in range(2):
        with lock_folder(tmp_path / "index"):
            assert not (tmp_path / "index").exists()


def test_lock_file_inside_a_result_does_not_keep_it_from_being_replaced(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "record.json").write_text(json.dumps({"files": {"index/vectors.npy": {}}}), encoding="utf-8")
    with lock_folder(tmp_path / "model" / "index"):
        pass
    check_output_folder(tmp_path / "model", "record.json")


def test_lock_file_is_no_part_of_the_folder_that_it_lies_in(tmp_path: Path) -> None:
    with lock_folder(tmp_path / "index"):
        assert list_files(tmp_path) == {}
    (tmp_path / ".index.lock").touch()
    assert (list_files(tmp_path), find_difference(tmp_path, {})) == ({}, None)
    (tmp_path / ".other.lock").write_text("not empty, so not of this package")
    assert find_difference(tmp_path, {}) == (".other.lock", "unexpected")
