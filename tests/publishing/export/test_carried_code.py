from __future__ import annotations

import ast
from pathlib import Path, PurePosixPath

import pytest

import modelscope_plugin
from modelscope_plugin.config.configuration import find_shipped_file
from modelscope_plugin.publishing.export.carried_code import CODE_FOLDER, collect_code

CODE = {path: text for path, text in collect_code().items() if path.endswith(".py")}


def _imports(path: str) -> list[ast.ImportFrom | ast.Import]:
    return [node for node in ast.walk(ast.parse(CODE[path])) if isinstance(node, ast.ImportFrom | ast.Import)]


@pytest.mark.parametrize("path", CODE)
def test_modules_name_each_other_by_their_place(path: str) -> None:
    for node in _imports(path):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
        assert not any(name.split(".")[0] == "modelscope_plugin" for name in names)
        if isinstance(node, ast.ImportFrom) and node.level:
            base = PurePosixPath(path).parents[node.level - 1]
            target = base.joinpath(*(node.module or "").split("."))
            assert f"{target}.py" in CODE or f"{target}/__init__.py" in CODE, f"{path}: {ast.unparse(node)}"


def test_registered_modules_are_there() -> None:
    registered = ("registration", "models", "preprocessors", "pipelines/sentence_embedding")
    assert {f"{CODE_FOLDER}/modelscope_adapter/{name}.py" for name in registered} <= CODE.keys()


def test_no_other_room_comes_along() -> None:
    rooms = {PurePosixPath(path).parts[1] for path in CODE if path.count("/") > 1}
    assert rooms == {"config", "storage", "data", "modeling", "encoding", "modelscope_adapter"}


def test_text_is_that_of_the_source_but_for_imports() -> None:

    for path, text in CODE.items():
        source = Path(modelscope_plugin.__file__).parent.joinpath(*PurePosixPath(path).parts[1:])
        if path != f"{CODE_FOLDER}/__init__.py":
            pairs = zip(text.splitlines(), source.read_text(encoding="utf-8").splitlines(), strict=True)
            changed = [(mine, theirs) for mine, theirs in pairs if mine != theirs]
            assert all(mine.lstrip().startswith("from .") for mine, _ in changed)
            assert all(" modelscope_plugin." in theirs for _, theirs in changed)


def test_license_comes_along() -> None:
    assert collect_code()[f"{CODE_FOLDER}/LICENSE"] == find_shipped_file("LICENSE").read_text(encoding="utf-8")
