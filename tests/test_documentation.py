"""README and docs: what they say to run runs, what they show comes out, links lead somewhere, languages agree."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).parent.parent
READMES = ("README.md", "README.zh-CN.md")
PAGES = sorted(page.relative_to(TOP).as_posix() for page in [*map(TOP.joinpath, READMES), *TOP.glob("docs/**/*.md")])
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
RUN = re.compile(r"^<!-- run -->\n```(bash|python)\n(.*?)^```\n(?:\n```\n(.*?)^```$)?", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")


def read(page: str) -> str:
    return (TOP / page).read_text(encoding="utf-8")


def without_scores(output: str) -> list[str]:
    return re.sub(r" -?\d+\.\d+\b|-{3,}", " ", output).split()


@pytest.mark.process
def test_what_the_readme_says_to_run_runs_and_shows_what_it_shows(tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(TOP / "examples")
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    blocks = RUN.findall(read("README.md"))
    assert [language for language, *_ in blocks] == ["bash", "python"]
    for language, code, shown in blocks:
        command = ["bash", "-euc", code] if language == "bash" else [sys.executable, "-c", code]
        result = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=540, check=False
        )
        assert result.returncode == 0, result.stderr
        if shown:
            words = without_scores(shown)
            assert without_scores(result.stdout)[-len(words) :] == words


def test_both_readmes_say_to_run_the_same() -> None:
    assert RUN.findall(read(READMES[0])) == RUN.findall(read(READMES[1]))


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files(page: str) -> None:
    targets = [target for target in LINK.findall(read(page)) if "://" not in target]
    assert [target for target in targets if not ((TOP / page).parent / target).exists()] == []


def test_every_page_is_linked_from_the_readme_of_its_language() -> None:
    for readme, folder in zip(READMES, ("docs", "docs/zh"), strict=True):
        pages = {page.relative_to(TOP).as_posix() for page in (TOP / folder).glob("*.md")}
        assert pages <= set(LINK.findall(read(readme)))


def test_pages_have_the_same_commands_in_both_languages() -> None:
    names = [page.name for page in (TOP / "docs").glob("*.md")]
    assert names == [page.name for page in map((TOP / "docs/zh").joinpath, names) if page.exists()]
    for name in names:
        both = [
            [without_comments(block) for block in BLOCK.findall(read(f"{at}/{name}"))] for at in ("docs", "docs/zh")
        ]
        assert both[0] == both[1], name


def without_comments(block: tuple[str, str]) -> tuple[str, str]:
    language, code = block
    if not language:
        return "", ""  # a picture in letters, whose words are those of the language
    return language, "\n".join(re.split(r"\s+# ", line)[0].strip() for line in code.splitlines())
