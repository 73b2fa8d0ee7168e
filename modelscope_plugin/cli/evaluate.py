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
    one_of,
    positive,
)
from modelscope_plugin.cli.output import print_json, print_table, recall_rows
from modelscope_plugin.data.readers import read_entities, read_mentions
from modelscope_plugin.errors import UsageError

_EXAMPLES = """\
examples:
  modelscope entity evaluate dev.jsonl --index INDEX
  modelscope entity evaluate dev.jsonl --kb kb.jsonl --model DIR --k 1 4 16 64 128 --json
"""


def register(commands: Any) -> None:
    """Add the sub-command."""
    parser = add_command(commands, "evaluate", run, "Measure Recall@k over a whole knowledge base.", _EXAMPLES)
    parser.add_argument("file", metavar="FILE", help="texts with mentions and their entities")
    parser.add_argument("--index", metavar="INDEX", help="folder of the index")
    parser.add_argument("--kb", metavar="FILE", help="knowledge base, in place of an index")
    parser.add_argument(
        "--k",
        type=positive,
        nargs="+",
        metavar="K",
        help="values of k (default: those of the model's configuration.json)",
    )
    add_model(parser, "the model (default: the one that the index names)", required=False)
    add_encoding(parser)
    add_file_encoding(parser)
    add_json(parser, "print the figures as JSON")


def run(args: argparse.Namespace) -> None:
    """Run the sub-command."""
    source = one_of(args, "index", "kb")
    if source == "kb" and args.model is None:
        raise UsageError("--model is needed with --kb")
    mentions = list(read_mentions(args.file, encoding=args.encoding))
    from modelscope_plugin.encoding.encoder import EntityEncoder
    from modelscope_plugin.index.building import build_index
    from modelscope_plugin.metrics.evaluation import evaluate
    from modelscope_plugin.models.location import resolve_model
    from modelscope_plugin.pipelines.linker import EntityLinker
    from modelscope_plugin.trainers.settings import evaluation_ks, training_configuration

    if source == "index":
        linker = EntityLinker.from_pretrained(args.model, args.index, device=args.device, max_length=args.max_length)
        encoder, index = linker.encoder, linker.index
    else:
        encoder = EntityEncoder.from_pretrained(args.model, device=args.device, max_length=args.max_length)
        index = build_index(encoder, read_entities(args.kb, encoding=args.encoding), batch_size=args.batch_size)
    ks = args.k or evaluation_ks(training_configuration(resolve_model(encoder.name)))
    result = evaluate(encoder, index, mentions, ks=ks, batch_size=args.batch_size)
    if args.json:
        print_json(result.to_record())
        return
    figures = {f"all {result.mentions} mentions": result.recall}
    if result.single_gold_recall and result.single_gold_mentions != result.mentions:
        figures[f"the {result.single_gold_mentions} with one gold entity"] = result.single_gold_recall
    print_table(*recall_rows(figures))
    print(f"MRR {result.mrr:.3f} over {result.entities} entities")
    print(f"left out: {result.nil_mentions} NIL and {result.unlabelled_mentions} unlabelled mentions")
    if result.unknown_gold:
        print(f"{result.unknown_gold} mentions have no gold entity in the knowledge base and count as missed")
