"""What is printed: JSON is valid whatever the terminal, and no text of a file reaches the terminal as it stands."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import write_entities
from hypothesis import given
from hypothesis import strategies as st

from modelscope_plugin.cli import output
from modelscope_plugin.cli.main import main
from modelscope_plugin.data import Entity

ENCODINGS = ("utf-8", "ascii", "gbk", "latin-1", "big5", "shift_jis")
ESCAPE = "\x1b]0;owned\x07\x1b[2J\r\u202e\x9b31m"
TEXTS = st.text(st.characters(codec=None, exclude_categories=()))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner),
    max_leaves=10,
)


def _print_json(value: Any, encoding: str) -> bytes:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="backslashreplace", newline="\n")
    earlier, sys.stdout = sys.stdout, stream
    try:
        output.print_json(value)
    finally:
        sys.stdout = earlier
    stream.flush()
    written = stream.buffer.getvalue()  # type: ignore[attr-defined]
    assert isinstance(written, bytes)
    return written


@given(JSON, st.sampled_from(ENCODINGS))
def test_json_is_utf8_whatever_the_encoding_of_the_output(value: Any, encoding: str) -> None:
    lines = _print_json(value, encoding).decode("utf-8").split("\n")
    assert len(lines) == 2
    assert json.loads(lines[0]) == value


def test_json_has_characters_as_they_are_where_the_output_is_utf8() -> None:
    assert _print_json("大鹏", "UTF8").decode() == '"大鹏"\n'


def test_json_has_null_in_place_of_nan() -> None:
    assert json.loads(_print_json({"a": [float("nan"), 1.5], "b": float("inf")}, "utf-8")) == {
        "a": [None, 1.5],
        "b": None,
    }


@pytest.mark.process
@pytest.mark.parametrize(
    ("variables", "to_file"),
    [
        ({"PYTHONIOENCODING": "ascii"}, False),
        ({"PYTHONIOENCODING": "gbk"}, False),
        ({"LC_ALL": "C", "PYTHONUTF8": "0"}, False),
        ({"LC_ALL": "C", "PYTHONUTF8": "0"}, True),
    ],
)
def test_link_gives_valid_json_whatever_the_terminal(
    variables: dict[str, str], to_file: bool, index_folder: Path, tmp_path: Path
) -> None:
    out, text = tmp_path / "out.jsonl", "é😀 [ENT_S] 大鹏 [ENT_E]"
    (tmp_path / "texts.txt").write_text(text, encoding="utf-8")
    arguments = ["link", str(tmp_path / "texts.txt"), "--index", str(index_folder)]
    result = subprocess.run(
        [sys.executable, "-m", "modelscope_plugin", *arguments, *(["--out", str(out)] if to_file else ["--json"])],
        capture_output=True, timeout=300, check=True, env=os.environ | variables,
    )  # fmt: skip
    linked = json.loads((out.read_bytes() if to_file else result.stdout).decode("utf-8"))
    assert linked["text"] == "é😀大鹏"


def test_printable_text_of_tables_files_messages_and_logs(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_table([[f"a{ESCAPE}b"]], ["h"])
    output.print_files({f"a{ESCAPE}b": 1})
    output.print_line(f"a{ESCAPE}b")
    printed = capsys.readouterr().out
    assert all(one.isprintable() for one in printed.replace("\n", ""))
    assert printed.count("owned") == 3


def test_escapes_in_a_file_reach_the_terminal_in_no_error(
    model_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    kb = write_entities(tmp_path / "kb.jsonl", [Entity(f"q{ESCAPE}", "名"), Entity(f"q{ESCAPE}", "名")])
    assert main(["index", str(kb), "--model", str(model_folder), "--out", str(tmp_path / "i")]) == 1
    assert all(one.isprintable() for one in capfd.readouterr().err.replace("\n", ""))


def test_escapes_in_a_logged_text_do_not_reach_the_terminal() -> None:
    from modelscope_plugin.cli.main import _Formatter

    record = logging.LogRecord("x", logging.WARNING, "f", 1, "model %s", (ESCAPE,), None)
    assert _Formatter().format(record).isprintable()
