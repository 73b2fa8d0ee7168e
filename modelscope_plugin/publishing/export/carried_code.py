"""Collects the code that a standalone folder carries: the modules that the embedding pipeline imports, and no others.

ModelScope copies the Python files of such a folder into its cache and imports all of them, as modules of a package that
is named after the folder. So the copies use relative imports (``from ..data.records import Mention``).
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

import modelscope_plugin
from modelscope_plugin.config.configuration import find_shipped_file
from modelscope_plugin.errors import InputError
from modelscope_plugin.version import __version__

CODE_FOLDER = "entity_embedding"
"""Folder of a standalone model that holds the code."""

# The modules that ModelScope needs in a standalone folder; what they import is included.
_ROOTS = (
    "modelscope_adapter.registration",
    "modelscope_adapter.models",
    "modelscope_adapter.preprocessors",
    "modelscope_adapter.pipelines.sentence_embedding",
)
_PACKAGE = modelscope_plugin.__name__
_SOURCE = Path(modelscope_plugin.__file__).parent
_INIT = f'''\
"""{_PACKAGE} {__version__}, as far as the sentence-embedding pipeline needs it. Apache-2.0, see LICENSE beside it.

ModelScope imports all of it. Where the package is installed, the classes of that are used, not those in here.
"""

from .modelscope_adapter.registration import register

__version__ = "{__version__}"
CODE = "{{digest}}"

register()
'''


def collect_code() -> dict[str, str]:
    """Collect the code.

    Returns:
        The text of every file, by its path in the model folder.
    """
    found: dict[str, str] = {}
    waiting = list(_ROOTS)
    while waiting:
        path, source = _read_source(waiting.pop())
        if path not in found:
            found[path], imported = _make_relative(source, depth=path.count("/") + 1)
            waiting += imported
    digest = hashlib.sha256("".join(found[path] for path in sorted(found)).encode()).hexdigest()
    found["__init__.py"] = _INIT.format(digest=digest)
    found["LICENSE"] = find_shipped_file("LICENSE").read_text(encoding="utf-8")
    return {f"{CODE_FOLDER}/{path}": found[path] for path in sorted(found)}


def check_folder_name(name: str) -> None:
    """Check that ModelScope can import code from a folder of this name.

    ModelScope imports the code as a package named like the folder. An installed module of that name is found first,
    and a name with which a folder of the code ends confuses its relative paths.

    Args:
        name: Name of the model folder.

    Raises:
        InputError: If it is the name of a module, or a folder of the code ends with it.
    """
    module = re.sub(r"\W", "_", name, flags=re.ASCII)
    inside = {part for path in collect_code() for part in Path(path).parts[:-1]}
    if importlib.util.find_spec(module) is not None or any(part.endswith(module) for part in inside):
        raise InputError(f"ModelScope could not import code from a folder named {name!r}; give it another name")


def _read_source(module: str) -> tuple[str, str]:
    """Return path and text of a module; name and path are relative to the package."""
    path = module.replace(".", "/")
    path = f"{path}.py" if (_SOURCE / f"{path}.py").is_file() else f"{path}/__init__.py"
    return path, (_SOURCE / path).read_text(encoding="utf-8")


def _make_relative(source: str, depth: int) -> tuple[str, list[str]]:
    """Return the text of a module with relative imports, and the names, relative to the package, of what it imports."""
    lines = source.splitlines(keepends=True)
    imported = []
    for node, runs in _find_imports(ast.parse(source)):
        name = (node.module or "").removeprefix(f"{_PACKAGE}.")
        line = node.lineno - 1
        lines[line] = lines[line].replace(f"from {node.module} ", f"from {'.' * depth}{name} ", 1)
        if runs:
            imported.append(name)
    return "".join(lines), imported


def _find_imports(tree: ast.AST, runs: bool = True) -> Iterator[tuple[ast.ImportFrom, bool]]:
    """Yield the imports from this package, each with whether it runs or is for type checkers only."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{_PACKAGE}."):
            yield node, runs
        else:
            typing = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
            yield from _find_imports(node, runs and not typing)
