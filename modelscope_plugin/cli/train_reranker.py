"""``modelscope entity train-reranker``: train a re-ranker on what the first step ranks high."""

from __future__ import annotations

import argparse
from typing import Any

from modelscope_plugin.cli import arguments
from modelscope_plugin.cli.inputs import InputFiles, add_input_options
from modelscope_plugin.cli.output import make_recall_table, print_json, print_line, print_table
from modelscope_plugin.config.reranking_settings import RerankingSettings
from modelscope_plugin.errors import UsageError

_EXAMPLES = """\
Settings that are not given come from configuration.json: the file named by --config, the model folder's own, the one
that ships with the package, in this order.

examples:
  modelscope entity train-reranker --model DIR --kb kb.jsonl --train train.jsonl --dev dev.jsonl --out RERANKER
  modelscope entity train-reranker --index INDEX --train train.jsonl --dev dev.jsonl --out RERANKER
  modelscope entity train-reranker ... --type cross-encoder --base BERT --learning-rate 2e-5
  torchrun --nproc_per_node 2 -m modelscope_plugin train-reranker ...            # two GPUs
"""


def register(commands: Any) -> None:
    """Add the sub-command."""
    summary = "Train a re-ranker: late interaction or a cross encoder."
    parser = arguments.add_command(commands, "train-reranker", run, summary, _EXAMPLES)
    # fmt: off
    parser.add_argument("--model", metavar="DIR|ID",
        help="the dual encoder of the first step (default: the one that the index names)")
    arguments.add_index_or_kb(parser)
    parser.add_argument("--base", metavar="DIR|ID", help="checkpoint to start from (default: the dual encoder)")
    parser.add_argument("--train", metavar="FILE", help="texts with mentions and their entities")
    parser.add_argument("--dev", metavar="FILE", help="the same, to measure recall and keep the best epoch")
    parser.add_argument("--out", required=True, metavar="DIR", help="model folder to write")
    parser.add_argument("--resume", action="store_true", help="resume an interrupted run of the same command")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier model in --out")
    parser.add_argument("--config", metavar="FILE", help="a configuration.json with settings")
    parser.add_argument("--tensorboard", metavar="DIR", help="write loss, rate and recall for TensorBoard")
    parser.add_argument("--k", type=arguments.parse_positive, nargs="+", metavar="K",
        help="values of k to measure (default: 1 4 16)")
    # fmt: on
    arguments.add_device(parser)
    add_input_options(parser)
    arguments.add_json(parser, "print the result as JSON")
    arguments.add_setting_options(parser.add_argument_group("training"), RerankingSettings)


def run(args: argparse.Namespace) -> None:
    """Run the sub-command."""
    from modelscope_plugin.training.record import recall_of
    from modelscope_plugin.training.reranking.training import DEFAULT_KS, train_reranker

    source = arguments.require_one_of(args, "index", "kb")
    model = args.model or _find_model(args.index)
    configuration = arguments.read_model_configuration(model, args.config)
    given = arguments.get_given_settings(args, RerankingSettings)
    settings = RerankingSettings.from_configuration(configuration, **given)
    if args.train is None and not settings.kb_mentions:
        raise UsageError("--train is needed, or --kb-mentions to train on the knowledge base alone")
    files = InputFiles(args)
    result = train_reranker(
        model,
        files.read_mentions(args.train) if args.train else (),
        args.out,
        settings,
        entities=files.make_reader(files.read_entities, args.kb) if source == "kb" else None,
        index=args.index,
        base=args.base,
        eval_mentions=None if args.dev is None else files.read_mentions(args.dev),
        ks=args.k or DEFAULT_KS,
        device=args.device,
        resume=args.resume,
        overwrite=args.overwrite,
        tensorboard=args.tensorboard,
    )
    if not result.is_main:
        return
    lists = result.best.mining or {}
    files.print_summary(f"trained on {lists['mentions']:,} mentions with {lists['negatives']:,} negatives")
    if args.json:
        print_json(result.to_record())
        return
    print_line(f"loss {' → '.join(f'{loss:.3f}' for loss in result.best.losses)}")
    if result.best.recall:
        first_step = recall_of(lists["first_step"])
        rows = {"dev, first step": first_step, "dev, re-ranker alone": result.best.recall}
        print_table(*make_recall_table(rows))
    print_line(f"the model is in {args.out}")


def _find_model(index: str | None) -> str:
    """The model that an index names."""
    if index is None:
        raise UsageError("--model is needed with --kb")
    from modelscope_plugin.retrieval.entity_index import EntityIndex

    model = EntityIndex.load(index).model
    if not model:
        raise UsageError(f"the index {index} does not name its model; give --model")
    return model
