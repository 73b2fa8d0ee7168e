"""``modelscope entity encode``: texts to vectors in a file."""

from __future__ import annotations

import argparse
import contextlib
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelscope_plugin.cli import arguments
from modelscope_plugin.cli.inputs import InputFiles
from modelscope_plugin.cli.output import print_json, print_line
from modelscope_plugin.errors import InputError, UsageError
from modelscope_plugin.progress import progress_bar
from modelscope_plugin.storage.atomic_write import replace_file

if TYPE_CHECKING:
    from modelscope_plugin.encoding.bulk.protocol import BulkEncoder

_EXAMPLES = """\
examples:
  modelscope entity encode mentions.jsonl --model DIR --out vectors.npy
  modelscope entity encode kb.jsonl --side entity --model DIR --out vectors.npy
  modelscope entity encode --text "… [ENT_S] 大鹏 [ENT_E] …" --model DIR --json
"""


def register(commands: Any) -> None:
    """Add the sub-command."""
    parser = arguments.add_command(commands, "encode", run, "Encode mentions or entities.", _EXAMPLES)
    parser.add_argument(
        "file", nargs="?", metavar="FILE", help="mentions, or with --side entity a knowledge base; - is standard input"
    )
    # fmt: off
    parser.add_argument("--text", action="append", default=[], metavar="TEXT",
        help="a text, with or without a marked mention; can be repeated")
    # fmt: on
    parser.add_argument(
        "--side", choices=("mention", "entity"), default="mention", help="which tower encodes (default: %(default)s)"
    )
    parser.add_argument("--out", metavar="FILE.npy", help="write the vectors, float32 (n, dim), to this file")
    arguments.add_encoder_options(parser, "the model to encode with", processes=True)
    arguments.add_json(parser, "print one JSON list of numbers for each text")


def run(args: argparse.Namespace) -> None:
    """Run the sub-command."""
    source = arguments.require_one_of(args, "file", "text")
    if not args.out and not args.json:
        raise UsageError("say where the vectors go: --out FILE.npy or --json")
    files = InputFiles(args)
    if source == "text":
        items: Callable[[], Iterable[Any]] = lambda: args.text  # noqa: E731
    else:
        read: Callable[[str], Iterable[Any]] = files.read_mentions if args.side == "mention" else files.read_entities
        items = files.make_reader(read, args.file)
    # Reading the whole file before the model is loaded gives the total and reports a broken line early.
    total = sum(1 for _ in items())
    if not total:
        raise InputError(f"no {args.side} in {args.file}")
    from modelscope_plugin.encoding.bulk.local import LocalBulkEncoder

    with tempfile.TemporaryDirectory() as scratch:
        shards = arguments.get_shards_folder(args.out) if args.out else Path(scratch)
        options = arguments.get_loading_options(args)
        with LocalBulkEncoder(args.model, shards, processes=args.processes, **options) as bulk_encoder:
            _encode(args, bulk_encoder, items(), total)
        bulk_encoder.remove_shards()
    files.print_summary(f"encoded {total:,}" if source == "file" else "")


def _encode(args: argparse.Namespace, bulk_encoder: BulkEncoder, items: Iterable[Any], total: int) -> None:
    from numpy.lib.format import write_array_header_1_0

    shape = (total, bulk_encoder.encoder.dimension)
    done = found = 0
    with contextlib.ExitStack() as stack:
        bar = stack.enter_context(progress_bar(total, "Encoding", args.side))
        stream = None
        if args.out:
            # Not through a memory map: where the disk is full, that ends the process without a word.
            stream = stack.enter_context(open(stack.enter_context(replace_file(Path(args.out))), "wb"))
            write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": shape})
        for shard in bulk_encoder.encode_shards(args.side, items, batch_size=args.batch_size):
            if stream is not None:
                stream.write(shard.vectors.astype("<f4", order="C", copy=False).data)
            if args.json:
                for vector in shard.vectors:
                    print_json(vector.tolist())
            done += len(shard.items)
            found += len(shard.items) if shard.is_reused else 0
            bar.update(len(shard.items))
    if args.out and not args.json:
        kept = f", {found} of them from an interrupted run" if found else ""
        print_line(f"{args.out}: {total} vectors of {shape[1]} dimensions{kept}")
