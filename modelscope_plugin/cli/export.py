"""``modelscope entity export``: write a model as a folder to publish."""

from __future__ import annotations

import argparse
from typing import Any

from modelscope_plugin.cli.arguments import add_command, add_json
from modelscope_plugin.cli.output import print_json

_EXAMPLES = """\
The folder holds weights, tokenizer, configuration.json, a model card made from what the training run
recorded, and what sentence-transformers needs to open it. An earlier export is replaced; a folder
with anything else in it is not touched.

examples:
  modelscope entity export --model DIR --out FOLDER
  modelscope entity export --model DIR --out FOLDER --name owner/name --language en --license mit
"""


def register(commands: Any) -> None:
    """Add the sub-command."""
    parser = add_command(commands, "export", run, "Write a model as a folder to publish.", _EXAMPLES)
    parser.add_argument("--model", required=True, metavar="DIR|ID", help="the model to export")
    parser.add_argument("--out", required=True, metavar="FOLDER", help="folder to write")
    parser.add_argument(
        "--language", choices=("zh", "en"), default="zh", help="language of the model card (default: %(default)s)"
    )
    parser.add_argument(
        "--license", default="apache-2.0", metavar="NAME", help="licence of the model (default: %(default)s)"
    )
    parser.add_argument(
        "--name",
        metavar="NAME",
        help="what the card loads the model by, such as owner/name (default: the folder's name)",
    )
    add_json(parser, "print the result as JSON")


def run(args: argparse.Namespace) -> None:
    """Run the sub-command."""
    from modelscope_plugin.hub.export import export_model

    result = export_model(args.model, args.out, language=args.language, license=args.license, name=args.name)
    if args.json:
        print_json(result.to_record())
        return
    for path, size in result.files.items():
        print(f"{size:>13,}  {path}")
    print(f"{args.out}: {len(result.files)} files, {sum(result.files.values()):,} bytes")
    if not result.sentence_transformers:
        print("sentence-transformers would make other tokens of prefix and text; the files it needs are left out")
    if not result.trained:
        print("the model has no training.json; the card says nothing about its training")
    elif not result.evaluated:
        print("no recall was recorded in training; the card has no figures")
