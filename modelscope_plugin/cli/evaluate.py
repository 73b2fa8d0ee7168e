"""``modelscope entity evaluate``: recall over a whole knowledge base."""

from __future__ import annotations

import argparse
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelscope_plugin.cli import arguments
from modelscope_plugin.cli.end_to_end import check_end_to_end, run_end_to_end
from modelscope_plugin.cli.inputs import InputFiles
from modelscope_plugin.cli.output import format_percent, make_recall_table, print_json, print_line, print_table
from modelscope_plugin.config.evaluation_settings import find_ks
from modelscope_plugin.config.model_settings import PipelineSettings
from modelscope_plugin.config.settings import NONE
from modelscope_plugin.errors import UsageError
from modelscope_plugin.storage.locks import lock_folder

if TYPE_CHECKING:
    from modelscope_plugin.data.records import Mention
    from modelscope_plugin.encoding import EntityEncoder
    from modelscope_plugin.evaluation.evaluate import Evaluation
    from modelscope_plugin.evaluation.nil_figures import NilFigures
    from modelscope_plugin.linking.reranking.protocol import Reranker
    from modelscope_plugin.retrieval import EntityIndex

_EXAMPLES = """\
examples:
  modelscope entity evaluate dev.jsonl --index INDEX --plot recall.png
  modelscope entity evaluate dev.jsonl --index INDEX --retrieval hybrid
  modelscope entity evaluate dev.jsonl --index INDEX --retrieval hybrid --fit-nil --nil-precision 0.9
  modelscope entity evaluate dev.jsonl --index INDEX --retrieval hybrid --reranker DIR --fit-reranking
  modelscope entity evaluate texts.jsonl --index INDEX --end-to-end --fit-detection
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
    parser.add_argument("--fit-reranking", action="store_true",
        help="fit the weights of re-ranker and retrieval in the final order on these mentions, and save them")
    parser.add_argument("--fit-nil", action="store_true",
        help="fit when a mention has no entity on these mentions, some of them NIL, and save it in the index")
    parser.add_argument("--nil-precision", type=float, metavar="X",
        help="with --fit-nil: the wanted precision of NIL decisions (default: the one with the best F1)")
    parser.add_argument("--end-to-end", action="store_true",
        help="link texts from their characters alone, with the mentions that link --detect finds, and compare with the "
        "labelled mentions: precision, recall and F1")
    parser.add_argument("--fit-detection", action="store_true",
        help="with --end-to-end: fit how likely a name must be a mention, see index --count-mentions, and save it")
    parser.add_argument("--detection-precision", type=float, metavar="X",
        help="with --fit-detection: the wanted precision of finding mentions (default: the best F1)")
    defaults = {
        "retrieval": "dense, which measures the model; with --reranker hybrid",
        "nil_threshold": "what was fitted for the index",
    }
    names = ("retrieval", "nil_threshold", "reranker", "rerank_top_k")
    arguments.add_setting_options(parser, PipelineSettings, names, defaults)
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
    check_end_to_end(args)
    is_fitting = args.fit_fusion or args.fit_reranking or args.fit_nil
    if is_fitting and args.index is None:
        raise UsageError("--fit-nil, --fit-fusion and --fit-reranking need --index, where their result is saved")
    if args.fit_fusion and args.retrieval != "hybrid":
        raise UsageError("--fit-fusion fits hybrid retrieval; add --retrieval hybrid")
    # Not what configuration.json says: that is for linking.
    default = {"pipeline": {"retrieval": "dense" if args.reranker in (None, NONE) else "hybrid"}}
    settings = PipelineSettings.from_configuration(default, **arguments.get_given_settings(args, PipelineSettings))
    retrieval = settings.retrieval
    if settings.reranker is None and (args.fit_reranking or args.rerank_top_k is not None):
        raise UsageError("--fit-reranking and --rerank-top-k are about a re-ranker; add --reranker DIR")
    if args.fit_nil and args.retrieval is None and settings.reranker is None:
        raise UsageError("--fit-nil fits for one retrieval; add --retrieval hybrid, which linking uses, or another")
    if args.nil_precision is not None and not args.fit_nil:
        raise UsageError("--nil-precision goes with --fit-nil")
    if args.end_to_end:
        run_end_to_end(args, settings)
        return
    files = InputFiles(args)
    mentions = list(files.read_mentions(args.file))
    seen = None
    if args.train:
        seen = {one for mention in files.read_mentions(args.train) for one in mention.entity_ids}
    with lock_folder(Path(args.index), args.wait) if is_fitting else nullcontext():
        encoder, index = arguments.open_index_or_kb(args, files)
        reranker = _load_reranker(settings.reranker, args)
        if is_fitting:
            _fit(args, encoder, index, mentions, settings, reranker)
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
        reranker=reranker,
        rerank_top_k=settings.rerank_top_k,
        batch_size=args.batch_size,
        exact=not args.approximate,
    )
    name = encoder.name or "model"
    if args.plot:
        curves = {name: result.curve}
        if result.first_step is not None:
            curves = {f"{name}, first step": result.first_step.curve, f"{name}, re-ranked": result.curve}
        plot_recall(curves, args.plot)
    left_out = {"NIL mentions": result.nil_mentions, "unlabelled mentions": result.unlabelled_mentions}
    files.print_summary(f"measured {result.mentions:,} mentions", left_out)
    if args.json:
        # The fingerprint says whose figures they are, for the card of a published model.
        facts: dict[str, Any] = {"retrieval": retrieval, "fingerprint": encoder.fingerprint}
        if reranker is not None:
            facts |= {"reranker": reranker.fingerprint, "rerank_top_k": settings.rerank_top_k}
        print_json(result.to_record() | facts)
        return
    print_table(*make_recall_table(_list_figures(result)))
    first = "" if result.first_step is None else f", {result.first_step.mrr:.3f} before re-ranking,"
    print_line(f"MRR {result.mrr:.3f}{first} over {result.entities} entities")
    if result.nil:
        _print_nil(result.nil)
    print_line(f"left out of recall: {result.nil_mentions} NIL and {result.unlabelled_mentions} unlabelled mentions")
    if result.unknown_gold:
        print_line(f"{result.unknown_gold} mentions have no gold entity in the knowledge base and count as missed")


def _load_reranker(name: str | None, args: argparse.Namespace) -> Reranker | None:
    if name is None:
        return None
    from modelscope_plugin.linking.reranking.loading import load_reranker

    return load_reranker(name, device=args.device, backend=args.backend, dtype=args.dtype)


def _fit(
    args: argparse.Namespace,
    encoder: EntityEncoder,
    index: EntityIndex,
    mentions: list[Mention],
    settings: PipelineSettings,
    reranker: Reranker | None,
) -> None:
    """Fit what was asked for, and save it in the index."""
    from modelscope_plugin.linking.reranking.second_step import SecondStep

    retrieval, top_k = settings.retrieval, settings.rerank_top_k
    if args.fit_fusion:
        from modelscope_plugin.evaluation.fitting.fit_fusion import fit_fusion

        fusion = fit_fusion(encoder, index, mentions, batch_size=args.batch_size)
        _print_fitted(args, f"vectors {fusion.dense:.3g}, names {fusion.names:.3g}, learnt names {fusion.learned:.3g}")
    if args.fit_reranking and reranker is not None:
        from modelscope_plugin.evaluation.fitting.fit_reranking import fit_reranking
        from modelscope_plugin.retrieval.fitted import RERANKING_FEATURES

        unfitted = SecondStep(reranker, index, retrieval, top_k, is_fitted=False)
        weights = fit_reranking(encoder, index, unfitted, mentions, batch_size=args.batch_size)
        _print_fitted(args, ", ".join(f"{name} {getattr(weights, name):.3g}" for name in RERANKING_FEATURES))
    if args.fit_nil:
        from modelscope_plugin.evaluation.fitting.fit_nil import fit_nil

        fit_nil(
            encoder,
            index,
            mentions,
            retrieval=retrieval,
            second_step=None if reranker is None else SecondStep(reranker, index, retrieval, top_k),
            precision=args.nil_precision,
            batch_size=args.batch_size,
        )
    index.save_fitted(args.index)


def _print_fitted(args: argparse.Namespace, weights: str) -> None:
    if not args.json:
        print_line(f"weights fitted and saved: {weights}; the figures below are of the mentions they were fitted on")


def _list_figures(result: Evaluation) -> dict[str, dict[int, float]]:
    """Recall of all mentions and of groups; with a re-ranker, that of the first step in front of each."""
    before = result.first_step
    figures = _name_steps(f"all {result.mentions} mentions", None if before is None else before.recall, result.recall)
    for name, group in result.groups.items():
        if group.mentions != result.mentions:
            part = f"the {group.mentions} {_PARTS[name]}"
            figures |= _name_steps(part, None if before is None else before.groups[name].recall, group.recall)
    return figures


def _name_steps(name: str, before: dict[int, float] | None, after: dict[int, float]) -> dict[str, dict[int, float]]:
    return {name: after} if before is None else {f"{name}, first step": before, f"{name}, re-ranked": after}


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
