"""``modelscope entity init``: a base model with random weights, where there is no pretrained one."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, get_args

from modelscope_plugin.cli import arguments
from modelscope_plugin.cli.inputs import InputFiles, add_input_options
from modelscope_plugin.cli.output import print_line
from modelscope_plugin.config.model_settings import WindowSettings
from modelscope_plugin.config.training_settings import TrainingSettings
from modelscope_plugin.types import ModelSize

_EXAMPLES = """\
A pretrained model links better; take one where you can, such as damo/nlp_bert_entity-embedding_chinese-base of the
ModelScope hub. The configuration.json written here holds settings with which a model learns from random weights.

examples:
  modelscope entity init BASE --kb kb.jsonl --train train.jsonl
  modelscope entity train --model BASE --kb kb.jsonl --train train.jsonl --out MODEL
"""


def register(commands: Any) -> None:
    """Add the sub-command."""
    parser = arguments.add_command(
        commands, "init", run, "Make a base model with random weights, to train from scratch.", _EXAMPLES
    )
    parser.add_argument("out", metavar="BASE", help="model folder to write")
    parser.add_argument("--kb", required=True, metavar="FILE", help="knowledge base, whose characters are learnt")
    parser.add_argument("--train", metavar="FILE", help="texts with mentions, whose characters are learnt too")
    parser.add_argument(
        "--size", choices=get_args(ModelSize), default="tiny",
        help="tiny: 2 layers of 128; small: 4 of 256; base: 12 of 768, for a GPU (default: %(default)s)",
    )  # fmt: skip
    arguments.add_setting_options(parser, WindowSettings)
    arguments.add_setting_options(parser, TrainingSettings, ["seed"])
    add_input_options(parser)


def run(args: argparse.Namespace) -> None:
    """Run the sub-command."""
    from modelscope_plugin.modeling.random_model import write_base_model

    files = InputFiles(args)
    mentions = files.read_mentions(args.train) if args.train else ()
    given = {name: getattr(args, name) for name in ("max_length", "seed") if getattr(args, name) is not None}
    tokens = write_base_model(Path(args.out), files.read_entities(args.kb), mentions, size=args.size, **given)
    files.print_summary(f"made a vocabulary of {tokens:,} tokens")
    print_line(f"the base model is in {args.out}; its weights are random: train it with")
    train = args.train or "train.jsonl"
    print_line(f"  modelscope entity train --model {args.out} --kb {args.kb} --train {train} --out MODEL")
