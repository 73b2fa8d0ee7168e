"""The parser of the command, and how a sub-command is run: logging, signals, errors and exit status."""

from __future__ import annotations

import argparse
import io
import logging
import os
import sys
from collections.abc import Sequence

from modelscope_plugin.cli import (
    demo,
    encode,
    evaluate,
    export,
    index,
    init,
    link,
    mine,
    publish,
    train,
    train_reranker,
)
from modelscope_plugin.cli.arguments import ArgumentParser
from modelscope_plugin.cli.output import print_line
from modelscope_plugin.cli.signals import EXIT_INTERRUPTED, EXIT_TERMINATED, Terminated, message_of, raise_on_signals
from modelscope_plugin.errors import PluginError, UsageError
from modelscope_plugin.text import printable
from modelscope_plugin.version import __version__

_COMMANDS = (demo, init, index, link, encode, train, train_reranker, mine, evaluate, export, publish)
DESCRIPTION = "Entity retrieval: link mentions in text to your own knowledge base."

EXIT_FAILED = 1
EXIT_USAGE = 2


def add_commands(parser: argparse.ArgumentParser) -> None:
    """Add every sub-command to a parser."""
    parser.description = DESCRIPTION
    parser.add_argument("--version", action="version", version=f"modelscope_plugin {__version__}")
    commands = parser.add_subparsers(
        dest="entity_command", metavar="SUBCOMMAND", required=True, parser_class=ArgumentParser
    )
    for command in _COMMANDS:
        command.register(commands)


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``python -m modelscope_plugin``.

    Args:
        argv: Arguments; by default those of the process.

    Returns:
        Exit status: 0, 1 where the command failed, 2 if its arguments cannot be used.
    """
    parser = ArgumentParser(prog="python -m modelscope_plugin")
    add_commands(parser)
    return run(parser.parse_args(argv))


def run(args: argparse.Namespace) -> int:
    """Run a parsed sub-command; a failure becomes one line on standard error.

    Args:
        args: What the parser made; ``args.run`` is the function of the sub-command.

    Returns:
        Exit status.
    """
    _set_up_logging()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal or pipe that cannot show a character gets its code in place of an exception; JSON has its own.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        with raise_on_signals():
            _check_paths(args)
            args.run(args)
            sys.stdout.flush()
    except UsageError as error:
        _report_failure(str(error))
        return EXIT_USAGE
    except PluginError as error:
        return _report_failure(str(error))
    except BrokenPipeError:
        # The reader of our output has gone (head); do not complain again when Python closes the stream.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except OSError as error:
        return _report_failure(f"{error.filename or 'file'}: {error.strerror or error}")
    except KeyboardInterrupt:
        return _report_signal(EXIT_INTERRUPTED)
    except Terminated:
        return _report_signal(EXIT_TERMINATED)
    return 0


def _report_signal(status: int) -> int:
    print(message_of(status), file=sys.stderr)
    return status


def _check_paths(args: argparse.Namespace) -> None:
    for name, value in vars(args).items():
        values = value if isinstance(value, list) else [value]
        if name != "text" and any(isinstance(one, str) and "\0" in one for one in values):
            raise UsageError(f"{name.replace('_', '-')} holds a NUL character, which no name of a file or model has")


def _report_failure(message: str) -> int:
    print_line(f"error: {message}", file=sys.stderr)
    return EXIT_FAILED


def _set_up_logging() -> None:
    # Warnings of this package are for the user, messages of libraries are not. Without a terminal there is no progress
    # bar, so the losses of a training run are logged.
    logging.basicConfig(format="%(levelname)s: %(message)s")
    for handler in logging.getLogger().handlers:
        handler.setFormatter(_Formatter())
    logging.getLogger().setLevel(logging.WARNING)
    logging.getLogger("modelscope_plugin").setLevel(logging.WARNING if sys.stderr.isatty() else logging.INFO)


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        message = printable(record.getMessage())
        return message if record.levelno == logging.INFO else f"{record.levelname.lower()}: {message}"
