"""``modelscope entity link``: mentions to entities."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from modelscope_plugin.cli import arguments
from modelscope_plugin.cli.inputs import InputFiles
from modelscope_plugin.cli.output import make_linked_rows, print_json, print_table
from modelscope_plugin.config.model_settings import PipelineSettings
from modelscope_plugin.data.records import Document
from modelscope_plugin.storage.atomic_write import replace_file

_CHUNK = 1024
_EXAMPLES = """\
examples:
  modelscope entity link --index INDEX --text "… [ENT_S] 大鹏 [ENT_E] …"
  modelscope entity link mentions.jsonl --index INDEX --json > linked.jsonl
  modelscope entity link --index INDEX --detect --text "小品里大鹏很好笑"
  modelscope entity link mentions.jsonl --index INDEX --reranker DIR
  cat marked.txt | modelscope entity link - --index INDEX
  modelscope entity link --model owner/name --text "…"   (a published model that contains an index)
"""


def register(commands: Any) -> None:
    """Add the sub-command."""
    parser = arguments.add_command(commands, "link", run, "Link mentions to the entities of an index.", _EXAMPLES)
    # fmt: off
    parser.add_argument("file", nargs="?", metavar="FILE",
        help="texts with mentions: JSON lines (CCKS or own form), CSV, TSV, marked text; - is standard input")
    parser.add_argument("--text", action="append", default=[], metavar="TEXT",
        help="a text with a marked mention; can be repeated")
    parser.add_argument("--index", metavar="INDEX", help="folder of the index (default: the one of a published model)")
    parser.add_argument("--top-k", type=arguments.parse_positive, default=5, metavar="K",
        help="candidates per mention (default: %(default)s)")
    defaults = {
        "retrieval": "that of the model's configuration.json, else hybrid",
        "nil_threshold": "that of the model's configuration.json, else what was fitted for the index",
        "reranker": "that of the model's configuration.json, else none",
        "rerank_top_k": "that of the model's configuration.json, else 32",
    }
    arguments.add_setting_options(parser, PipelineSettings, defaults=defaults)
    parser.add_argument("--detect", action="store_true",
        help="in texts without a mention, take names from the index as mentions (extra: detect)")
    # fmt: on
    parser.add_argument("--out", metavar="FILE", help="write JSON lines to this file, complete or not at all")
    arguments.add_encoder_options(
        parser, "the model (default: the one that the index names)", required=False, has_entities=False
    )
    arguments.add_json(parser, "print one JSON object for each text")


def run(args: argparse.Namespace) -> None:
    """Run the sub-command."""
    if args.file is None and not args.text and not sys.stdin.isatty():
        args.file = "-"
    source = arguments.require_one_of(args, "file", "text")
    files = InputFiles(args)
    if source == "text":
        from modelscope_plugin.data.requests import parse_linking_document

        documents: Iterable[Document] = [parse_linking_document(text, unmarked=args.detect) for text in args.text]
    else:
        documents = files.read_documents(args.file, unmarked=args.detect)
    from modelscope_plugin.linking.linker import EntityLinker

    linker = EntityLinker.from_pretrained(
        args.model,
        args.index,
        retrieval=args.retrieval,
        nil_threshold=args.nil_threshold,
        reranker=args.reranker,
        rerank_top_k=args.rerank_top_k,
        detector="dictionary" if args.detect else None,
        **arguments.get_loading_options(args),
    )
    results = _link(linker, documents, args)
    if args.out:
        with (
            replace_file(Path(args.out)) as draft,
            open(draft, "w", encoding="utf-8") as stream,
            contextlib.redirect_stdout(stream),
        ):
            _print_lines(results)
    elif args.json:
        _print_lines(results)
    else:
        rows = make_linked_rows(list(results), args.top_k)
        print_table(rows, ["mention", *(str(rank) for rank in range(1, args.top_k + 1))])
    files.print_summary()


def _link(linker: Any, documents: Iterable[Document], args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    stream = iter(documents)
    while chunk := list(islice(stream, _CHUNK)):
        yield from linker.link_documents(chunk, top_k=args.top_k, batch_size=args.batch_size)


def _print_lines(results: Iterable[dict[str, Any]]) -> None:
    for result in results:
        print_json(result)
