"""The version stands in version.py, and everything else follows it."""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path

import modelscope_plugin
from modelscope_plugin.version import __version__

ROOT = Path(__file__).parents[1]


def test_installed_metadata_has_the_version() -> None:
    assert version("modelscope_plugin") == modelscope_plugin.__version__ == __version__


def test_no_other_file_repeats_the_version() -> None:
    sources = [*ROOT.glob("modelscope_plugin/**/*.py"), *ROOT.glob("*.py"), *ROOT.glob("*.toml"), *ROOT.glob("*.json")]
    quoted = re.compile(rf"""["']{re.escape(__version__)}["']""")
    assert [path.name for path in sources if quoted.search(path.read_text(encoding="utf-8"))] == ["version.py"]


def test_changelog_begins_with_the_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (\S+)", changelog, re.MULTILINE)[0] == __version__
