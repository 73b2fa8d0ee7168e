from __future__ import annotations

from pathlib import Path

import pytest

from modelscope_plugin.errors import MissingFileError
from modelscope_plugin.models.location import resolve_model


def test_resolve_model_returns_a_folder_as_it_is(tmp_path: Path) -> None:
    assert resolve_model(tmp_path) == tmp_path


@pytest.mark.parametrize("name", ["no/such/folder", "/no/such", "name"])
def test_resolve_model_without_folder_or_id_raises(name: str) -> None:
    with pytest.raises(MissingFileError, match="there is no model folder"):
        resolve_model(name)
