"""``modelscope entity``: this command inside ModelScope's own command line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from modelscope_plugin.cli.signals import exit_on_signals


class EntityCommand:
    """What ModelScope's entry-point group ``modelscope_hub.cli_plugins`` asks for.

    It is loaded at every call of ``modelscope``, so it imports nothing heavy.

    Args:
        args: The parsed arguments.
    """

    name = "entity"

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args

    @staticmethod
    def register(subparsers: Any) -> None:
        """Add the command to ModelScope's parser."""
        from modelscope_plugin.cli.main import DESCRIPTION, add_commands

        parser = subparsers.add_parser(EntityCommand.name, help=DESCRIPTION)
        add_commands(parser)
        parser.set_defaults(_command=EntityCommand)

    def execute(self) -> None:
        """Run the sub-command and leave with its exit status."""
        from modelscope_plugin.cli.main import run

        sys.exit(run(self.args))


def _is_called(argv: Sequence[str]) -> bool:
    """Whether the process is ModelScope's command line and its sub-command is this one."""
    if Path(argv[0]).stem not in ("modelscope", "ms", "modelscope-hub", "ms-hub"):
        return False
    words = (
        word for option, word in pairwise(argv) if not word.startswith("-") and option not in ("--token", "--endpoint")
    )
    return next(words, None) == EntityCommand.name


if _is_called(sys.argv):
    # Now, not when the command runs: until then ModelScope loads the other commands and parses the arguments.
    exit_on_signals()
