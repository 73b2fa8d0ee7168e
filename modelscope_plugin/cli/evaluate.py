"""``modelscope entity evaluate``: recall over a whole knowledge base."""

from __future__ import annotations

import argparse
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelscope_plugin.cli import arguments
from modelscope_plugin.cli.inputs import InputFiles
from modelscope_plugin.cli.output import format_percent, make_recall_table, print_json, print_line, print_table
from modelscope_plugin.config.evaluation_settings import find_ks
from modelscope_plugin.config.model_settings import PipelineSettings
from modelscope_plugin.errors import UsageError
from modelscope_plugin.storage.locks import lock_folder

if TYPE_CHECKING:
    from modelscope_plugin.data.records import Mention
    from modelscope_plugin.encoding import EntityEncoder
    from modelscope_plugin.evaluation.nil_figures import NilFigures
    from modelscope_plugin.retrieval import EntityIndex

_EXAMPLES = """\
examples:
  modelscope entity evaluate dev.jsonl --index INDEX --plot recall.png
  modelscope entity evaluate dev.jsonl --index INDEX --retrieval hybrid
  modelscope entity evaluate dev.jsonl --index INDEX --retrieval hybrid --fit-nil --nil-precision 0.9
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
    parser = arguments.add_command(
        commands, "evaluate", run, "Measure Recall@k over a whole knowledge base.", _EXAMPLES
    )
    parser.add_argument("file", metavar="FILE", help="texts with mentions and their entities")
    arguments.add_index_or_kb(parser)
    # fmt: off
    parser.add_argument("--train", metavar="FILE",
        help="the training mentions: measure seen and unseen entities too "
        "(default: seen are those that the index has learnt names of)")
    parser.add_argument("--plot", metavar="PNG", help="draw recall over k")
    parser.add_argument("--k", type=arguments.parse_positive, nargs="+", metavar="K",
        help="values of k (default: those of the model's configuration.json)")
    parser.add_argument("--fit-fusion", action="store_true",
        help="fit the weights of vectors and names in hybrid retrieval on these mentions, and save them in the index")
    parser.add_argument("--fit-nil", action="store_true",
        help="fit when a mention has no entity on these mentions, some of them NIL, and save it in the index")
    parser.add_argument("--nil-precision", type=float, metavar="X",
        help="with --fit-nil: the wanted precision of NIL decisions (default: the one with the best F1)")
    defaults = {"retrieval": "dense, which measures the model", "nil_threshold": "what was fitted for the index"}
    arguments.add_setting_options(parser, PipelineSettings, defaults=defaults)
    parser.add_argument("--approximate", action="store_true",
        help="search an approximate index the way `link` does; without it every index is searched exactly")
    # fmt: on
    arguments.add_wait(parser)
    arguments.add_encoder_options(parser, "the model (default: the one that the index names)", required=False)
    arguments.add_json(parser, "print the figures as JSON")


def run(args: argparse.Namespace) -> None:
    """Run the sub-command."""
    from modelscope_plugin.evaluation.plot import check_plot, plot_recall

    if args.plot:
        check_plot(args.plot)
    if (args.fit_nil or args.fit_fusion) and args.index is None:
        raise UsageError("--fit-nil and --fit-fusion need --index, where their result is saved")
    if args.fit_fusion and args.retrieval != "hybrid":
        raise UsageError("--fit-fusion fits hybrid retrieval; add --retrieval hybrid")
    if args.fit_nil and args.retrieval is None:
        raise UsageError("--fit-nil fits for one retrieval; add --retrieval hybrid, which linking uses, or another")
    if args.nil_precision is not None and not args.fit_nil:
        raise UsageError("--nil-precision goes with --fit-nil")
    files = InputFiles(args)
    mentions = list(files.read_mentions(args.file))
    seen = None
    if args.train:
        seen = {one for mention in files.read_mentions(args.train) for one in mention.entity_ids}
    # Not what configuration.json says: that is for linking.
    dense = {"pipeline": {"retrieval": "dense"}}
    settings = PipelineSettings.from_configuration(dense, **arguments.get_given_settings(args, PipelineSettings))
    retrieval = settings.retrieval
    is_fitting = args.fit_fusion or args.fit_nil
    with lock_folder(Path(args.index), args.wait) if is_fitting else nullcontext():
        encoder, index = arguments.open_index_or_kb(args, files)
        if is_fitting:
            _fit(args, encoder, index, mentions, retrieval)
    if seen is None and len(index.lexicon.learned):
        seen = {one for _, one in index.lexicon.learned_pairs()}
    from modelscope_plugin.evaluation.evaluate import evaluate

    ks = args.k or find_ks(arguments.read_model_configuration(encoder.name))
    result = evaluate(
        encoder,
        index,
        mentions,
        ks=ks,
        seen=seen,
        by_ambiguity=True,
        retrieval=retrieval,
        nil_threshold=settings.nil_threshold,
        batch_size=args.batch_size,
        exact=not args.approximate,
    )
    if args.plot:
        plot_recall({f"{encoder.name or 'model'}": result.curve}, args.plot)
    left_out = {"NIL mentions": result.nil_mentions, "unlabelled mentions": result.unlabelled_mentions}
    files.print_summary(f"measured {result.mentions:,} mentions", left_out)
    if args.json:
        # The fingerprint says whose figures they are, for the card of a published model.
        print_json(result.to_record() | {"retrieval": retrieval, "fingerprint": encoder.fingerprint})
        return
    figures = {f"all {result.mentions} mentions": result.recall}
    for name, group in result.groups.items():
        if group.mentions != result.mentions:
            figures[f"the {group.mentions} {_PARTS[name]}"] = group.recall
    print_table(*make_recall_table(figures))
    print_line(f"MRR {result.mrr:.3f} over {result.entities} entities")
    if result.nil:
        _print_nil(result.nil)
    print_line(f"left out of recall: {result.nil_mentions} NIL and {result.unlabelled_mentions} unlabelled mentions")
    if result.unknown_gold:
        print_line(f"{result.unknown_gold} mentions have no gold entity in the knowledge base and count as missed")


def _fit(
    args: argparse.Namespace, encoder: EntityEncoder, index: EntityIndex, mentions: list[Mention], retrieval: str
) -> None:
    """Fit what was asked for, and save it in the index."""
    if args.fit_fusion:
        from modelscope_plugin.evaluation.fitting.fit_fusion import fit_fusion

        fit_fusion(encoder, index, mentions, batch_size=args.batch_size)
    if args.fit_nil:
        from modelscope_plugin.evaluation.fitting.fit_nil import fit_nil

        fit_nil(encoder, index, mentions, retrieval=retrieval, precision=args.nil_precision, batch_size=args.batch_size)
    index.save_fitted(args.index)


def _print_nil(figures: NilFigures) -> None:
    shares = (figures.precision, figures.recall, figures.f1, figures.accuracy)
    precision, recall, f1, accuracy = map(format_percent, shares)
    print_line(
        f"NIL below a confidence of {figures.threshold:.3f}: precision {precision}, recall {recall}, F1 {f1}; "
        f"accuracy with NIL {accuracy}"
    )
    if len(figures.recall_by_type) > 1:
        by_type = (f"{label} {format_percent(value)}" for label, value in figures.recall_by_type.items())
        print_line(f"NIL recall by type: {', '.join(by_type)}")
