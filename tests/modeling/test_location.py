from __future__ import annotations

from pathlib import Path

import pytest

from modelscope_plugin.errors import MissingFileError
from modelscope_plugin.modeling.location import resolve_model


def test_resolve_model_returns_a_folder_as_it_is(tmp_path: Path) -> None:
    assert resolve_model(tmp_path) == tmp_path


@pytest.mark.parametrize("name", ["no/such/folder", "/no/such", "name"])
def test_resolve_model_without_folder_or_id_raises(name: str) -> None:
    with pytest.raises(MissingFileError, match="there is no model folder"):
        resolve_model(name)


def test_resolve_model_takes_a_name_in_an_existing_folder_for_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "models").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MissingFileError, match="there is no model folder models/bert"):
        resolve_model("models/bert")


def test_resolve_model_never_asks_the_hub_for_a_path() -> None:
    with pytest.raises(MissingFileError, match="there is no model folder owner/name"):
        resolve_model(Path("owner/name"))


def test_a_model_folder_that_a_killed_process_was_about_to_replace_is_found(tmp_path: Path) -> None:
    (tmp_path / ".model.0123abcd.earlier").mkdir()
    assert resolve_model(tmp_path / "model") == tmp_path / "model"
