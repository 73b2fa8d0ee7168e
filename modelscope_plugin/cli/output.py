"""Printing of results."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any


def print_json(value: Any) -> None:
    """Print a value as one line of JSON."""
    print(json.dumps(value, ensure_ascii=False))


def print_files(files: Mapping[str, int]) -> None:
    """Print sizes in bytes and paths."""
    for path, size in files.items():
        print(f"{size:>13,}  {_join_lines(path)}")


def print_table(rows: Sequence[Sequence[Any]], headers: Sequence[str]) -> None:
    """Print a table; wide characters take two columns."""
    from tabulate import tabulate

    print(tabulate(rows, headers=headers, disable_numparse=True))


def format_percent(value: float) -> str:
    """Format a share as percent with one digit."""
    return f"{100 * value:.1f}"


def make_recall_table(figures: dict[str, dict[int, float]]) -> tuple[list[list[str]], list[str]]:
    """Return the rows and headers of a table of recall, one row for each method."""
    ks = list(next(iter(figures.values())))
    rows = [[name, *(format_percent(recall[k]) for k in ks)] for name, recall in figures.items()]
    return rows, ["", *(f"Recall@{k}" for k in ks)]


def _join_lines(text: str) -> str:
    """Replace line breaks and control characters of the data, so that they do not reach the terminal."""
    return " ".join("".join(character if character.isprintable() else " " for character in text).split())


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
            rows.append([_join_lines(cell) for cell in (shown, *found)])
    return rows
