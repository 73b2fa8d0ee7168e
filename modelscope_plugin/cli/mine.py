"""``modelscope entity mine``: hard negatives for training."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from modelscope_plugin.cli import arguments
from modelscope_plugin.cli.inputs import InputFiles
from modelscope_plugin.cli.output import print_json, print_line
from modelscope_plugin.config.training_settings import MiningSettings
from modelscope_plugin.data.golds import merge_golds
from modelscope_plugin.storage.atomic_write import check_output_file

_EXAMPLES = """\
Settings that are not given come from the model folder's configuration.json.

examples:
  modelscope entity mine train.jsonl --index INDEX --out negatives.jsonl
  modelscope entity mine train.jsonl --kb kb.jsonl --model DIR --num-negatives 8 --range-max 100 --out negatives.jsonl
"""


def register(commands: Any) -> None:
    """Add the sub-command."""
    parser = arguments.add_command(commands, "mine", run, "Find hard negatives over a whole knowledge base.", _EXAMPLES)
    parser.add_argument("file", metavar="FILE", help="texts with mentions and their entities")
    arguments.add_index_or_kb(parser)
    parser.add_argument("--out", required=True, metavar="FILE", help="file to write, for train --train")
    arguments.add_setting_options(parser.add_argument_group("mining"), MiningSettings)
    arguments.add_encoder_options(parser, "the model (default: the one that the index names)", required=False)
    arguments.add_json(parser, "print the report as JSON")


def run(args: argparse.Namespace) -> None:
    """Run the sub-command."""
    check_output_file(args.out, *(path for path in (args.file, args.kb) if path))
    files = InputFiles(args)
    mentions = merge_golds(files.read_mentions(args.file))
    encoder, index = arguments.open_index_or_kb(args, files)
    from modelscope_plugin.training.hard_negative_mining import mine_negatives, write_negatives

    configuration = arguments.read_model_configuration(encoder.name)
    settings = MiningSettings.from_configuration(configuration, **arguments.get_given_settings(args, MiningSettings))
    mined = mine_negatives(encoder, index, mentions, settings, batch_size=args.batch_size)
    write_negatives(args.out, mined, index)
    report = mined.report
    left_out = len(mentions) - report.mentions
    files.print_summary(
        f"mined for {report.mentions:,} mentions", {"mentions without a gold entity in the knowledge base": left_out}
    )
    if args.json:
        print_json(report.to_record())
        return
    print_line(f"{Path(args.out)}: {report.negatives} hard negatives for {report.mentions} mentions")
    if report.by_name:
        print_line(f"taken for their name: {report.by_name}")
    counts = ", ".join(f"{mentions} with {count}" for count, mentions in report.mentions_by_negatives.items())
    print_line(f"mentions by number of negatives: {counts}")
    print_line(f"mean margin of the gold entity: {report.mean_margin:.3f}")
    if left_out:
        print_line(f"left out: {left_out} mentions without a gold entity in the knowledge base")
