"""``modelscope entity train``: train a dual encoder."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path
from typing import Any

from modelscope_plugin.cli.arguments import (
    add_command,
    add_device,
    add_file_encoding,
    add_json,
    knowledge_base,
    positive,
)
from modelscope_plugin.cli.output import print_json, print_table, recall_rows
from modelscope_plugin.data.readers import read_mentions
from modelscope_plugin.errors import UsageError

_EXAMPLES = """\
Settings that are not given come from configuration.json: the file named by --config, the model
folder's own, the one that ships with the package, in this order.

example:
  modelscope entity train --model BASE --kb kb.jsonl --train train.jsonl --dev dev.jsonl --out DIR
"""


def register(commands: Any) -> None:
    """Add the sub-command."""
    parser = add_command(commands, "train", run, "Train a dual encoder with in-batch negatives.", _EXAMPLES)
    parser.add_argument("--model", required=True, metavar="DIR|ID", help="any BERT-family checkpoint to start from")
    parser.add_argument("--kb", required=True, metavar="FILE", help="knowledge base")
    parser.add_argument("--train", metavar="FILE", help="texts with mentions and their entities")
    parser.add_argument("--dev", metavar="FILE", help="the same, to measure recall on afterwards")
    parser.add_argument("--out", required=True, metavar="DIR", help="model folder to write")
    parser.add_argument("--config", metavar="FILE", help="a configuration.json with settings")
    settings = parser.add_argument_group("settings")
    settings.add_argument("--epochs", dest="max_epochs", type=positive, metavar="N", help="passes over the mentions")
    settings.add_argument("--batch-size", type=positive, metavar="N", help="mentions in a batch")
    settings.add_argument("--learning-rate", type=float, metavar="RATE", help="peak learning rate of AdamW")
    settings.add_argument(
        "--warmup-ratio", type=float, metavar="SHARE", help="share of the steps in which the rate rises"
    )
    settings.add_argument("--temperature", type=float, metavar="T", help="what the scores are divided by in the loss")
    settings.add_argument(
        "--kb-mentions", type=int, metavar="N", help="mentions to make from every name in the knowledge base"
    )
    settings.add_argument("--max-length", type=positive, metavar="N", help="tokens of a window")
    settings.add_argument(
        "--pooling", dest="emb_pooler_type", metavar="TYPE", help="cls, avg, avg_top2 or avg_first_last"
    )
    settings.add_argument("--normalize", action=argparse.BooleanOptionalAction, help="scale vectors to length 1")
    settings.add_argument("--towers", type=int, choices=(1, 2), help="1 for shared weights, 2 for separate ones")
    settings.add_argument("--seed", type=int, metavar="N", help="the one source of randomness")
    parser.add_argument("--k", type=positive, nargs="+", metavar="K", help="values of k to measure")
    add_device(parser)
    add_file_encoding(parser)
    add_json(parser, "print the result as JSON")


def run(args: argparse.Namespace) -> None:
    """Run the sub-command."""
    from modelscope_plugin.configuration import merged, read_configuration_file
    from modelscope_plugin.models.location import resolve_model
    from modelscope_plugin.trainers.settings import TrainingSettings, evaluation_ks, training_configuration
    from modelscope_plugin.trainers.training import train

    folder = resolve_model(args.model)
    configuration = training_configuration(folder)
    if args.config:
        configuration = merged(configuration, read_configuration_file(Path(args.config)))
    given = {field.name: getattr(args, field.name, None) for field in fields(TrainingSettings)}
    settings = TrainingSettings.from_configuration(configuration, **given)
    if args.train is None and not settings.kb_mentions:
        raise UsageError("--train is needed, or --kb-mentions to train on the knowledge base alone")
    result = train(
        folder,
        knowledge_base(args.kb, args.encoding),
        read_mentions(args.train, encoding=args.encoding) if args.train else (),
        args.out,
        settings,
        eval_mentions=None if args.dev is None else read_mentions(args.dev, encoding=args.encoding),
        ks=args.k or evaluation_ks(configuration),
        device=args.device,
    )
    figures = None if result.evaluation is None else result.evaluation.to_record()
    if args.json:
        print_json({"model": args.out, "losses": result.losses, "collapsed": result.collapsed, "evaluation": figures})
        return
    print(f"{args.out}: loss {' → '.join(f'{loss:.3f}' for loss in result.losses)}")
    if result.evaluation is not None:
        print_table(*recall_rows({"dev": result.evaluation.recall}))
