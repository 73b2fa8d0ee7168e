"""``modelscope entity encode``: texts to vectors in a file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from modelscope_plugin.cli.arguments import (
    add_command,
    add_encoding,
    add_file_encoding,
    add_json,
    add_model,
    loading,
    one_of,
)
from modelscope_plugin.cli.output import print_json
from modelscope_plugin.data.readers import read_entities, read_mentions
from modelscope_plugin.errors import InputError, UsageError
from modelscope_plugin.files import replace_file

_EXAMPLES = """\
examples:
  modelscope entity encode mentions.jsonl --model DIR --out vectors.npy
  modelscope entity encode kb.jsonl --side entity --model DIR --out vectors.npy
  modelscope entity encode --text "… [ENT_S] 大鹏 [ENT_E] …" --model DIR --json
"""


def register(commands: Any) -> None:
    """Add the sub-command."""
    parser = add_command(commands, "encode", run, "Encode mentions or entities.", _EXAMPLES)
    parser.add_argument(
        "file", nargs="?", metavar="FILE", help="mentions, or with --side entity a knowledge base; - is standard input"
    )
    parser.add_argument(
        "--text",
        action="append",
        default=[],
        metavar="TEXT",
        help="a text, with or without a marked mention; can be repeated",
    )
    parser.add_argument(
        "--side", choices=("mention", "entity"), default="mention", help="which tower encodes (default: %(default)s)"
    )
    parser.add_argument("--out", metavar="FILE.npy", help="write the vectors, float32 (n, dim), to this file")
    add_model(parser, "the model to encode with")
    add_encoding(parser)
    add_file_encoding(parser)
    add_json(parser, "print one JSON list of numbers for each text")


def run(args: argparse.Namespace) -> None:
    """Run the sub-command."""
    source = one_of(args, "file", "text")
    if not args.out and not args.json:
        raise UsageError("say where the vectors go: --out FILE.npy or --json")
    if source == "text":
        items: list[Any] = args.text
    else:
        read = read_mentions if args.side == "mention" else read_entities
        items = list(read(args.file, encoding=args.encoding))
    if not items:
        raise InputError(f"no {args.side} in {args.file}")
    import numpy as np

    from modelscope_plugin.encoding.encoder import EntityEncoder

    encoder = EntityEncoder.from_pretrained(args.model, **loading(args))
    encode = encoder.encode_query if args.side == "mention" else encoder.encode_document
    vectors = encode(items, batch_size=args.batch_size, show_progress_bar=None)
    if args.out:
        with replace_file(Path(args.out)) as draft, open(draft, "wb") as stream:
            np.save(stream, vectors)
    if args.json:
        for vector in vectors:
            print_json(vector.tolist())
    else:
        print(f"{args.out}: {len(vectors)} vectors of {vectors.shape[1]} dimensions")
