from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from modelscope_plugin.config.configuration import (
    MISSING,
    default_configuration,
    default_configuration_file,
    find_value,
    merge_configurations,
    read_configuration,
    read_configuration_file,
)
from modelscope_plugin.errors import InputError, MissingFileError, ModelFolderError


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


@pytest.mark.parametrize("data", ['{"a":' * 100_000 + "1" + "}" * 100_000, '{"a": ' + "[" * 200 + "]" * 200 + "}"])
def test_read_configuration_file_refuses_json_that_is_nested_deeply(tmp_path: Path, data: str) -> None:
    (tmp_path / "c.json").write_text(data)
    with pytest.raises(ModelFolderError, match=r"c\.json: JSON nested more than 50 deep"):
        read_configuration_file(tmp_path / "c.json")


def test_find_value_tells_null_from_missing() -> None:
    configuration = {"a": {"b": None, "c": 1}, "d": None}
    assert (find_value(configuration, "a.b"), find_value(configuration, "a.c")) == (None, 1)
    assert all(find_value(configuration, path) is MISSING for path in ("a.e", "d.b", "e.b.c"))


def test_find_value_names_a_section_that_is_not_an_object() -> None:
    with pytest.raises(InputError, match=r"^a\.b must be a JSON object, not \[1\]$"):
        find_value({"a": {"b": [1]}}, "a.b.c.d")


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
def test_merge_configurations_keeps_what_is_not_changed(
    base: dict[str, Any], changes: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert merge_configurations(base, changes) == expected


def test_merge_configurations_changes_neither_of_its_arguments() -> None:
    base, changes = {"a": {"b": [1]}}, {"a": {"c": [2]}}
    before = deepcopy((base, changes))
    result = merge_configurations(base, changes)
    result["a"]["b"].append(9)
    result["a"]["c"].append(9)
    assert (base, changes) == before
