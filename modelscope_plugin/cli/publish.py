"""``modelscope entity publish``: export a model, check it, and upload it to the hub."""

from __future__ import annotations

import argparse
from typing import Any

from modelscope_plugin.cli.arguments import add_command, add_json
from modelscope_plugin.cli.export import add_export_options, get_export_options
from modelscope_plugin.cli.output import print_files, print_json, print_line

_EXAMPLES = """\
FOLDER is a model, which is exported first, or a folder that "export" wrote with --name owner/name, which is
uploaded as it is. Before anything is uploaded, the folder is opened in every way that its card promises and must
give the vectors of the model, and the Python snippets of the card are run. Files outside the folder, training
data, checkpoints and logs are never uploaded. The check runs the code that a standalone folder carries: publish
exported folders of others only if you trust them. Nothing that is written in README.md is run.

The token is taken from --token, from MODELSCOPE_API_TOKEN, or from "modelscope login".

examples:
  modelscope entity publish DIR owner/name --license apache-2.0 --dry-run
  modelscope entity publish DIR owner/name --license apache-2.0 --private
  modelscope entity publish DIR owner/name --license mit --no-standalone --language en --index INDEX
"""


def register(commands: Any) -> None:
    """Add the sub-command."""
    parser = add_command(commands, "publish", run, "Export a model, check it and upload it to the hub.", _EXAMPLES)
    parser.add_argument("folder", metavar="FOLDER", help="a model, or a folder that export wrote")
    parser.add_argument("repo_id", metavar="OWNER/NAME", help="the model on the hub; created if it does not exist")
    parser.add_argument("--private", action="store_true", help="make a new model visible to its owner only")
    parser.add_argument("--revision", metavar="BRANCH", help="branch to upload to (default: the hub's)")
    parser.add_argument("--token", metavar="TOKEN", help="access token of the hub")
    parser.add_argument("--dry-run", action="store_true", help="export, check and list the files, upload nothing")
    add_export_options(parser, standalone=True)
    add_json(parser, "print the result as JSON")


def run(args: argparse.Namespace) -> None:
    """Run the sub-command."""
    from modelscope_plugin.publishing.publish import publish_model

    result = publish_model(
        args.folder,
        args.repo_id,
        private=args.private,
        revision=args.revision,
        token=args.token,
        dry_run=args.dry_run,
        **get_export_options(args),
    )
    if args.json:
        print_json(result.to_record())
        return
    print_files(result.files)
    for way, difference in result.checked.items():
        print_line(f"checked: {way}, vectors differ by {difference:.1g} at most")
    versions = ", ".join(f"{name} {version}" for name, version in result.versions.items())
    print_line(f"versions: {versions}; the folder was checked with these alone")
    for path in result.deleted:
        print_line(f"deleted: {path}, of an earlier export")
    total = f"{len(result.files)} files, {sum(result.files.values()):,} bytes"
    print_line(f"{result.url}: {total}" if result.url else f"would go up to {result.repo_id}: {total}")
