"""``modelscope entity export``: write a model as a folder to publish."""

from __future__ import annotations

import argparse
from typing import Any

from modelscope_plugin.cli.arguments import add_command, add_json
from modelscope_plugin.cli.output import print_files, print_json, print_line

_EXAMPLES = """\
The folder contains weights, tokenizer, configuration.json, a model card made from what the training run
recorded, and what sentence-transformers needs to open it. An earlier export is replaced; a folder
with anything else in it is not touched. A plain folder opens after "import modelscope_plugin"; a
standalone one carries the code it needs and opens with trust_remote_code=True, without this package.

examples:
  modelscope entity export --model DIR --out FOLDER
  modelscope entity export --model DIR --out FOLDER --name owner/name --language en --license mit
  modelscope entity export --model DIR --out FOLDER --standalone --index INDEX
"""


def register(commands: Any) -> None:
    """Add the sub-command."""
    parser = add_command(commands, "export", run, "Write a model as a folder to publish.", _EXAMPLES)
    parser.add_argument("--model", required=True, metavar="DIR|ID", help="the model to export")
    parser.add_argument("--out", required=True, metavar="FOLDER", help="folder to write")
    # fmt: off
    parser.add_argument("--name", metavar="NAME",
        help="the name that the card loads the model with, such as owner/name (default: the folder's name)")
    # fmt: on
    add_export_options(parser, standalone=False)
    add_json(parser, "print the result as JSON")


def add_export_options(parser: argparse.ArgumentParser, *, standalone: bool) -> None:
    """Add the options of an exported folder; ``standalone`` is the default of ``--standalone``."""
    kind = "standalone" if standalone else "plain"
    # fmt: off
    parser.add_argument("--standalone", action=argparse.BooleanOptionalAction,
        help=f"whether the folder carries the code it needs and opens without this package (default: {kind})")
    parser.add_argument("--index", metavar="INDEX", help="index of this model to include, for linking")
    parser.add_argument("--evaluation", metavar="FILE",
        help="figures for the card, from evaluate --json (default: those of training)")
    parser.add_argument("--onnx", action="store_true", default=None,
        help="include ONNX files in float32 and 8 bits (extra onnx)")
    parser.add_argument("--language", choices=("zh", "en"), help="language of the model card (default: zh)")
    parser.add_argument("--license", metavar="NAME",
        help="licence of the model, such as apache-2.0 (default: what its own card names)")
    # fmt: on


def get_export_options(args: argparse.Namespace) -> dict[str, Any]:
    """Return the options of `add_export_options` that were given."""
    options = {
        name: getattr(args, name) for name in ("standalone", "index", "onnx", "evaluation", "language", "license")
    }
    return {name: value for name, value in options.items() if value is not None}


def run(args: argparse.Namespace) -> None:
    """Run the sub-command."""
    from modelscope_plugin.publishing.export.export_model import export_model

    result = export_model(args.model, args.out, name=args.name, **get_export_options(args))
    if args.json:
        print_json(result.to_record())
        return
    print_files(result.files)
    print_line(f"{args.out}: {len(result.files)} files, {sum(result.files.values()):,} bytes")
    if not result.sentence_transformers:
        print_line("sentence-transformers would make other tokens of prefix and text; the files it needs are left out")
    if not result.trained:
        print_line("the model has no training.json; the card says nothing about its training")
    elif not result.evaluated:
        print_line("no recall was recorded in training; the card has no figures")
