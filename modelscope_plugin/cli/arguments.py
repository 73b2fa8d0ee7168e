"""Arguments that several sub-commands share."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from modelscope_plugin.data.readers import read_entities
from modelscope_plugin.data.records import Entity
from modelscope_plugin.errors import UsageError

DEFAULT_BATCH_SIZE = 32


def add_command(commands: Any, name: str, run: Any, summary: str, epilog: str | None = None) -> argparse.ArgumentParser:
    """Add a sub-command with its one-line help and its examples."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=summary, description=summary, epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.set_defaults(run=run)
    return parser


def add_model(parser: argparse.ArgumentParser, help: str, *, required: bool = True) -> None:
    """Add ``--model`` and the options that go with loading one."""
    parser.add_argument("--model", required=required, metavar="DIR|ID", help=help)
    add_device(parser)


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add ``--device``."""
    parser.add_argument("--device", help="cpu, cuda, cuda:1, gpu ... (default: a GPU where there is one)")


def add_encoding(parser: argparse.ArgumentParser) -> None:
    """Add the options of encoding texts."""
    parser.add_argument(
        "--batch-size",
        type=positive,
        default=DEFAULT_BATCH_SIZE,
        metavar="N",
        help="texts in one forward pass (default: %(default)s)",
    )
    parser.add_argument(
        "--max-length", type=positive, metavar="N", help="tokens of a window (default: the model's, else 128)"
    )


def add_file_encoding(parser: argparse.ArgumentParser) -> None:
    """Add ``--encoding``."""
    parser.add_argument("--encoding", default="utf-8", help="encoding of the files (default: %(default)s)")


def add_json(parser: argparse.ArgumentParser, help: str) -> None:
    """Add ``--json``."""
    parser.add_argument("--json", action="store_true", help=help)


def knowledge_base(path: str, encoding: str) -> Callable[[], Iterable[Entity]]:
    """A function that gives the entities of a file each time it is called; a pipe is read once and kept."""
    if Path(path).is_file():
        return lambda: read_entities(path, encoding=encoding)
    entities = list(read_entities(path, encoding=encoding))
    return lambda: entities


def positive(text: str) -> int:
    """An integer of at least 1, for argparse."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive integer")
    return value


def one_of(args: argparse.Namespace, *names: str) -> str:
    """The one argument of several that was given; UsageError where none or more than one was."""
    given = [name for name in names if getattr(args, name) not in (None, [])]
    if len(given) != 1:
        options = " or ".join(name if name == "file" else f"--{name}" for name in names)
        raise UsageError(f"give either {options}, and only one of them")
    return given[0]
