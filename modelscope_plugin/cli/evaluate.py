"""``modelscope entity evaluate``: recall over a whole knowledge base."""

from __future__ import annotations

import argparse
from typing import Any

from modelscope_plugin.cli.arguments import (
    add_command,
    add_encoding,
    add_file_encoding,
    add_json,
    add_model,
    add_source,
    open_source,
    positive,
)
from modelscope_plugin.cli.output import print_json, print_table, recall_rows
from modelscope_plugin.data.readers import read_mentions

_EXAMPLES = """\
examples:
  modelscope entity evaluate dev.jsonl --index INDEX --plot recall.png
  modelscope entity evaluate dev.jsonl --kb kb.jsonl --model DIR --train train.jsonl --k 1 4 16 64 128 --json
"""
_PARTS = {
    "single_gold": "with one gold entity",
    "seen": "of entities seen in training",
    "unseen": "of unseen entities",
    "ambiguous": "whose words name several entities",
    "unambiguous": "whose words do not",
}


def register(commands: Any) -> None:
    """Add the sub-command."""
    parser = add_command(commands, "evaluate", run, "Measure Recall@k over a whole knowledge base.", _EXAMPLES)
    parser.add_argument("file", metavar="FILE", help="texts with mentions and their entities")
    add_source(parser)
    parser.add_argument("--train", metavar="FILE", help="the training mentions: measure entities seen there apart")
    parser.add_argument("--plot", metavar="PNG", help="draw recall over k")
    parser.add_argument(
        "--k",
        type=positive,
        nargs="+",
        metavar="K",
        help="values of k (default: those of the model's configuration.json)",
    )
    parser.add_argument(
        "--as-linked",
        action="store_true",
        help="search an approximate index the way `link` does, not exactly",
    )
    add_model(parser, "the model (default: the one that the index names)", required=False)
    add_encoding(parser)
    add_file_encoding(parser)
    add_json(parser, "print the figures as JSON")


def run(args: argparse.Namespace) -> None:
    """Run the sub-command."""
    from modelscope_plugin.metrics.plot import check_plot, plot_recall

    if args.plot:
        check_plot(args.plot)
    mentions = list(read_mentions(args.file, encoding=args.encoding))
    seen = None
    if args.train:
        seen = {one for mention in read_mentions(args.train, encoding=args.encoding) for one in mention.entity_ids}
    encoder, index = open_source(args)
    from modelscope_plugin.metrics.evaluation import evaluate
    from modelscope_plugin.models.location import resolve_model
    from modelscope_plugin.trainers.settings import evaluation_ks, training_configuration

    ks = args.k or evaluation_ks(training_configuration(resolve_model(encoder.name)))
    result = evaluate(
        encoder,
        index,
        mentions,
        ks=ks,
        seen=seen,
        by_ambiguity=True,
        batch_size=args.batch_size,
        exact=not args.as_linked,
    )
    if args.plot:
        plot_recall({f"{encoder.name or 'model'}": result.curve}, args.plot)
    if args.json:
        print_json(result.to_record())
        return
    figures = {f"all {result.mentions} mentions": result.recall}
    for name, group in result.groups.items():
        if group.mentions != result.mentions:
            figures[f"the {group.mentions} {_PARTS[name]}"] = group.recall
    print_table(*recall_rows(figures))
    print(f"MRR {result.mrr:.3f} over {result.entities} entities")
    print(f"left out: {result.nil_mentions} NIL and {result.unlabelled_mentions} unlabelled mentions")
    if result.unknown_gold:
        print(f"{result.unknown_gold} mentions have no gold entity in the knowledge base and count as missed")
