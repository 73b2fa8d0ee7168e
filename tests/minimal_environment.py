"""A virtual environment with ModelScope, torch and transformers, and without this package."""

from __future__ import annotations

import subprocess
import venv
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

_WANTED = ("modelscope[framework]", "torch", "transformers")


def make_environment(folder: Path) -> Path:
    """Make it from what is installed here, by links, so that nothing is downloaded.

    Args:
        folder: A new folder.

    Returns:
        Its Python interpreter.
    """
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(subprocess.run([python, "-c", ask], capture_output=True, text=True, check=True).stdout.strip())
    for one in _needed():
        for name in {Path(str(path)).parts[0] for path in one.files or ()} - {"..", "__pycache__"}:
            if not (site / name).exists():
                (site / name).symlink_to(Path(str(one.locate_file(name))).resolve())
    return python


def _needed() -> Iterator[Distribution]:
    waiting = [Requirement(text) for text in _WANTED]
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        requirement = waiting.pop()
        key = (requirement.name, frozenset(requirement.extras))
        if key in seen:
            continue
        seen.add(key)
        try:
            one = distribution(requirement.name)
        except PackageNotFoundError:
            continue
        yield one
        for text in one.requires or ():
            further = Requirement(text)
            extras = requirement.extras or {""}
            if further.marker is None or any(further.marker.evaluate({"extra": extra}) for extra in extras):
                waiting.append(further)
