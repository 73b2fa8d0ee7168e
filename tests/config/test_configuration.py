from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from modelscope_plugin.config.configuration import (
    default_configuration,
    default_configuration_file,
    merged,
    read_configuration,
    read_configuration_file,
)
from modelscope_plugin.errors import MissingFileError, ModelFolderError


def test_default_configuration_file_is_there() -> None:
    assert default_configuration_file().name == "configuration.json"
    assert default_configuration_file().is_file()


def test_default_configuration_has_the_window_of_the_model_card() -> None:
    assert default_configuration()["preprocessor"]["max_length"] == 128


def test_default_configuration_is_a_copy_of_its_own() -> None:
    default_configuration()["train"]["max_epochs"] = -1
    assert default_configuration()["train"]["max_epochs"] != -1


def test_read_configuration_reads_the_file_of_a_model_folder(tmp_path: Path) -> None:
    (tmp_path / "configuration.json").write_text('{"任务": ["向量"]}', encoding="utf-8")
    assert read_configuration(tmp_path) == {"任务": ["向量"]}


def test_read_configuration_takes_the_folder_as_text(tmp_path: Path) -> None:
    (tmp_path / "configuration.json").write_bytes(b'{"task": "x"}')
    assert read_configuration(str(tmp_path)) == {"task": "x"}


def test_read_configuration_is_empty_without_the_file(tmp_path: Path) -> None:
    assert read_configuration(tmp_path) == {}


def test_read_configuration_file_drops_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text('{"task": "x"}', encoding="utf-8-sig")
    assert read_configuration_file(tmp_path / "c.json") == {"task": "x"}


def test_read_configuration_file_names_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"there is no file .*c\.json"):
        read_configuration_file(tmp_path / "c.json")


@pytest.mark.parametrize("data", [b"", b"{", b"{'a': 1}", '{"名": 1}'.encode("gb18030")])
def test_read_configuration_file_names_a_broken_file(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "c.json").write_bytes(data)
    with pytest.raises(ModelFolderError, match=r"c\.json: broken JSON"):
        read_configuration_file(tmp_path / "c.json")


@pytest.mark.parametrize(("data", "kind"), [(b"[]", "list"), (b"null", "NoneType"), (b'"x"', "str"), (b"1", "int")])
def test_read_configuration_file_refuses_json_that_is_no_object(tmp_path: Path, data: bytes, kind: str) -> None:
    (tmp_path / "c.json").write_bytes(data)
    with pytest.raises(ModelFolderError, match=f"{kind} instead of a JSON object"):
        read_configuration_file(tmp_path / "c.json")


@pytest.mark.parametrize(
    ("base", "changes", "expected"),
    [
        ({"a": 1}, {}, {"a": 1}),
        ({}, {"a": {"b": 1}}, {"a": {"b": 1}}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"c": 3, "d": 4}}, {"a": {"b": 1, "c": 3, "d": 4}}),
        ({"a": {"b": {"c": 1, "d": 2}}}, {"a": {"b": {"c": 5}}}, {"a": {"b": {"c": 5, "d": 2}}}),
        ({"a": {"b": 1}}, {"a": 2}, {"a": 2}),
        ({"a": 1}, {"a": {"b": 2}}, {"a": {"b": 2}}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"a": 1}, {"a": None}, {"a": None}),
    ],
)
def test_merged_lays_changes_over_the_base(
    base: dict[str, Any], changes: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert merged(base, changes) == expected


def test_merged_changes_neither_of_its_arguments() -> None:
    base, changes = {"a": {"b": [1]}}, {"a": {"c": [2]}}
    before = deepcopy((base, changes))
    result = merged(base, changes)
    result["a"]["b"].append(9)
    result["a"]["c"].append(9)
    assert (base, changes) == before
