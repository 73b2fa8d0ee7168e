"""Printing of results and messages.

Whatever is printed passes through `printable`, for it may hold names of files, or texts of a model, an index or a
knowledge base, with control characters in them. JSON escapes them itself.
"""

from __future__ import annotations

import codecs
import json
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from modelscope_plugin.text import printable


def print_json(value: Any) -> None:
    """Print a value as one line of JSON that is UTF-8 whatever the encoding of the output; NaN becomes null."""
    try:
        line = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError:
        value = _replace_non_finite(value)
        line = json.dumps(value, ensure_ascii=False)
    if not _is_utf8(sys.stdout.encoding) or any("\ud800" <= one <= "\udfff" for one in line):
        line = json.dumps(value)
    print(line)


def print_line(text: str, **options: Any) -> None:
    """Print one line of text; the keywords are those of ``print``."""
    print(printable(text), **options)


def print_files(files: Mapping[str, int]) -> None:
    """Print sizes in bytes and paths."""
    for path, size in files.items():
        print(f"{size:>13,}  {printable(path)}")


def print_table(rows: Sequence[Sequence[str]], headers: Sequence[str]) -> None:
    """Print a table; wide characters take two columns."""
    from tabulate import tabulate

    cells = [[cell if cell.isprintable() else printable(cell) for cell in row] for row in rows]
    print(tabulate(cells, headers=headers, disable_numparse=True))


def format_percent(value: float) -> str:
    """Format a share as percent with one digit."""
    return f"{100 * value:.1f}"


def make_recall_table(figures: dict[str, dict[int, float]]) -> tuple[list[list[str]], list[str]]:
    """Return the rows and headers of a table of recall, one row for each method."""
    ks = list(next(iter(figures.values())))
    rows = [[name, *(format_percent(recall[k]) for k in ks)] for name, recall in figures.items()]
    return rows, ["", *(f"Recall@{k}" for k in ks)]


def make_linked_rows(linked: Sequence[dict[str, Any]], top_k: int, context: int = 12) -> list[list[str]]:
    """Return rows of a table: each mention in its context, whether it is NIL, and its best candidates."""
    rows = []
    for document in linked:
        text = document["text"]
        for mention in document["mentions"]:
            start, end = mention["start"], mention["end"]
            left, right = text[max(0, start - context) : start], text[end : end + context]
            before, behind = "…" if start > context else "", "…" if end + context < len(text) else ""
            shown = f"{before}{left}[{mention['mention']}]{right}{behind}"
            if mention.get("nil"):
                shown = f"{shown} (NIL)"
            found = [f"{item['name']} ({item['id']}) {item['score']:.2f}" for item in mention["candidates"][:top_k]]
            rows.append([printable(cell) for cell in (shown, *found)])
    return rows


def _is_utf8(encoding: str | None) -> bool:
    return encoding is None or codecs.lookup(encoding).name == "utf-8"


def _replace_non_finite(value: Any) -> Any:
    """Replace NaN and infinity, which JSON does not have, by None."""
    if isinstance(value, Mapping):
        return {key: _replace_non_finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_replace_non_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
