"""The rooms of the package import each other in one direction, and no two files import each other."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import modelscope_plugin

PACKAGE = Path(modelscope_plugin.__file__).parent
# From the ground up; a room imports only from rooms of earlier lines and from itself.
STOREYS = (
    ("errors", "version", "types"),
    ("checks", "progress", "text"),
    ("storage",),
    ("config",),
    ("data",),
    ("modeling",),
    ("encoding",),
    ("retrieval",),
    ("linking",),
    ("evaluation",),
    ("training",),
    ("publishing", "serving"),
    ("modelscope_adapter",),
    ("cli", "__init__"),
    ("__main__",),
)
HEIGHT = {room: height for height, rooms in enumerate(STOREYS) for room in rooms}


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        found[name.removesuffix(".__init__")] = path
    return found


MODULES = modules()


def imported(path: Path) -> Iterator[str]:
    """The modules of the package that a file imports, those for type checkers included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            known = name if name in MODULES else name.rpartition(".")[0]
            if known in MODULES and known != PACKAGE.name:
                yield known


def room_of(module: str) -> str:
    """The room of a module: the part of its name behind that of the package."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_run_upwards_only(module: str) -> None:
    room = room_of(module)
    for other in imported(MODULES[module]):
        assert room_of(other) == room or HEIGHT[room_of(other)] < HEIGHT[room], f"{module} imports {other}"


def test_no_two_files_import_each_other() -> None:
    graph = {module: {other for other in imported(path) if other != module} for module, path in MODULES.items()}
    TopologicalSorter(graph).prepare()


def test_every_room_has_a_storey() -> None:
    rooms = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    assert rooms <= set(HEIGHT)
