"""``modelscope entity``: this command inside ModelScope's own command line."""

from __future__ import annotations

import argparse
import sys
from typing import Any


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
