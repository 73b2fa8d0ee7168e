"""What ``modelscope entity evaluate --end-to-end`` does: texts without marked mentions are linked and compared."""

from __future__ import annotations

import argparse
from contextlib import nullcontext
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelscope_plugin.cli import arguments
from modelscope_plugin.cli.inputs import InputFiles
from modelscope_plugin.cli.output import format_percent, print_json, print_line, print_table
from modelscope_plugin.config.model_settings import PipelineSettings
from modelscope_plugin.config.settings import read_settings
from modelscope_plugin.errors import UsageError
from modelscope_plugin.storage.locks import lock_folder

if TYPE_CHECKING:
    from modelscope_plugin.data.records import Document
    from modelscope_plugin.evaluation.end_to_end import EndToEnd, Prediction
    from modelscope_plugin.linking.linker import EntityLinker

_CHUNK = 1024
_ROWS = {
    "mentions": "mentions found",
    "linked": "and linked, those with an entity",
    "linked_with_nil": "and linked, with NIL as an entity",
}


def check_end_to_end(args: argparse.Namespace) -> None:
    """Raise `UsageError` if the options of detection are not used together as they can be."""
    if not args.end_to_end:
        if args.fit_detection or args.detection_precision is not None:
            raise UsageError("--fit-detection and --detection-precision go with --end-to-end")
        return
    if args.detection_precision is not None and not args.fit_detection:
        raise UsageError("--detection-precision goes with --fit-detection")
    if args.index is None:
        raise UsageError("--end-to-end links with an index; name it with --index")
    if args.fit_fusion or args.fit_nil or args.fit_reranking or args.plot or args.k or args.approximate:
        options = "--fit-fusion, --fit-nil, --fit-reranking, --plot, --k or --approximate"
        raise UsageError(f"--end-to-end does not go with {options}")


def run_end_to_end(args: argparse.Namespace, settings: PipelineSettings) -> None:
    """Link the texts of a file from nothing but their characters, and print how right that was.

    Args:
        args: The arguments of ``evaluate``.
        settings: How to link; retrieval is hybrid if it was not given.
    """
    from modelscope_plugin.evaluation.end_to_end import score_end_to_end
    from modelscope_plugin.evaluation.fitting.fit_detection import fit_detection
    from modelscope_plugin.linking.linker import EntityLinker
    from modelscope_plugin.modeling.location import resolve_model

    files = InputFiles(args)
    documents = _merge_records(files.read_documents(args.file, unmarked=True))
    seen = None
    if args.train:
        seen = {mention.surface for mention in files.read_mentions(args.train)}
    with lock_folder(Path(args.index), args.wait) if args.fit_detection else nullcontext():
        linker = EntityLinker.from_pretrained(
            args.model,
            args.index,
            retrieval=args.retrieval or "hybrid",
            nil_threshold=settings.nil_threshold,
            detector="dictionary",
            reranker=args.reranker,
            rerank_top_k=args.rerank_top_k,
            **arguments.get_loading_options(args),
        )
        if args.fit_detection:
            max_bearers = read_settings(PipelineSettings, resolve_model(linker.encoder.name)).max_bearers
            threshold, _ = fit_detection(
                linker.index, documents, precision=args.detection_precision, max_bearers=max_bearers
            )
            linker.index.save_fitted(args.index)
            if not args.json:
                print_line(f"names are mentions from a link probability of {threshold:.2f} on, fitted on these texts")
    figures = score_end_to_end(
        _predict(linker, documents, args), [one.mentions for one in documents], seen_surfaces=seen
    )
    files.print_summary(f"linked {len(documents):,} texts")
    if args.json:
        print_json(figures.to_record())
        return
    _print_figures(figures)


def _merge_records(documents: Any) -> list[Document]:
    """One document for each text: files with one mention a line repeat the text."""
    merged: dict[str, Document] = {}
    for document in documents:
        known = merged.get(document.text)
        mentions = document.mentions if known is None else (*known.mentions, *document.mentions)
        merged[document.text] = replace(document, mentions=mentions)
    return list(merged.values())


def _predict(linker: EntityLinker, documents: list[Document], args: argparse.Namespace) -> list[list[Prediction]]:
    from modelscope_plugin.evaluation.end_to_end import Prediction

    stream = (replace(document, mentions=(), has_no_mentions=False) for document in documents)
    predictions = []
    while chunk := list(islice(stream, _CHUNK)):
        for record in linker.link_documents(chunk, top_k=1, batch_size=args.batch_size):
            predictions.append([
                Prediction(one["start"], one["end"], None if one.get("nil") else one["candidates"][0]["id"])
                for one in record["mentions"]
            ])  # fmt: skip
    return predictions


def _print_figures(figures: EndToEnd) -> None:
    rows = []
    for name, label in _ROWS.items():
        one = getattr(figures, name)
        shares = map(format_percent, (one.precision, one.recall, one.f1))
        rows.append([label, *shares, str(one.correct), str(one.predicted), str(one.gold)])
    print_table(rows, ["", "precision", "recall", "F1", "right", "found", "labelled"])
    if figures.seen is not None and figures.unseen is not None:
        seen, unseen = format_percent(figures.seen), format_percent(figures.unseen)
        print_line(f"found of the mentions whose words were mentions in training {seen}, of the others {unseen}")
