"""``modelscope entity index``: build an index of a knowledge base, add to it, remove from it."""

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
    knowledge_base,
    positive,
)
from modelscope_plugin.cli.output import print_json
from modelscope_plugin.data.readers import read_mentions
from modelscope_plugin.errors import UsageError
from modelscope_plugin.files import check_output_folder

# Those of index/stored_vectors.py, which imports numpy.
_PRECISIONS = ("float32", "float16", "int8")
_EXAMPLES = """\
examples:
  modelscope entity index kb.jsonl --model DIR --out INDEX
  modelscope entity index new.jsonl --add --out INDEX
  modelscope entity index --remove Q1 Q2 --out INDEX
  modelscope entity index kb.jsonl --model DIR --out INDEX --queries mentions.jsonl --precision int8
"""


def register(commands: Any) -> None:
    """Add the sub-command."""
    parser = add_command(commands, "index", run, "Build the index of a knowledge base, or change it.", _EXAMPLES)
    parser.add_argument(
        "file", nargs="?", metavar="KB", help="knowledge base: JSON lines (CCKS or own form), CSV, TSV; also .gz"
    )
    parser.add_argument("--out", required=True, metavar="INDEX", help="folder of the index")
    parser.add_argument(
        "--add", action="store_true", help="add the entities to the index that is there; same ids are replaced"
    )
    parser.add_argument(
        "--remove", nargs="+", default=[], metavar="ID", help="take entities out of the index that is there"
    )
    group = parser.add_argument_group("search (of a new index)")
    group.add_argument(
        "--search",
        metavar="KIND",
        help="exact, approximate, auto (the faster one at this size: the default), or a kind of FAISS's index_factory",
    )
    group.add_argument("--precision", choices=_PRECISIONS, help="what the vectors are stored as (default: float32)")
    group.add_argument("--truncate-dim", type=positive, metavar="N", help="keep the first N dimensions")
    group.add_argument(
        "--queries", metavar="FILE", help="texts with mentions to measure recall on (default: made from the entities)"
    )
    add_model(parser, "the model to encode with (with --add: by default the one of the index)", required=False)
    add_encoding(parser)
    add_file_encoding(parser)
    add_json(parser, "print the result as JSON")


def run(args: argparse.Namespace) -> None:
    """Run the sub-command."""
    if args.file is None and not args.remove:
        raise UsageError("nothing to do: name a knowledge base, or ids to --remove")
    if args.remove and (args.file is not None or args.add):
        raise UsageError("--remove takes ids alone; run the command twice to add and to remove")
    if args.file is not None and not args.add and args.model is None:
        raise UsageError("--model is needed to build an index")
    tuning = {"search": args.search, "precision": args.precision, "truncate_dim": args.truncate_dim}
    tuning = {name: value for name, value in tuning.items() if value is not None}
    if (tuning or args.queries) and (args.add or args.remove):
        raise UsageError("--search, --precision, --truncate-dim and --queries are for a new index")
    from modelscope_plugin.index.entity_index import EntityIndex
    from modelscope_plugin.index.manifest import MANIFEST_FILE

    check_output_folder(Path(args.out), MANIFEST_FILE)
    index = EntityIndex.load(args.out) if args.add or args.remove else None
    if index is not None and args.remove:
        index.remove(args.remove)
    else:
        index = _add(args, index, tuning)
    renewed = index.renew()
    index.save(args.out)
    if args.json:
        record = {"index": args.out, "entities": len(index), "dimension": index.dimension, "model": index.model}
        print_json({**record, "search": index.tuning.to_record()})
    else:
        print(f"{args.out}: {len(index)} entities, {index.dimension} dimensions, model {index.model}")
        print(f"{'trained again, for much of it has changed: ' if renewed else ''}{index.tuning}")


def _add(args: argparse.Namespace, index: Any, tuning: dict[str, Any]) -> Any:
    from modelscope_plugin.encoding.encoder import EntityEncoder
    from modelscope_plugin.index.building import build_index, tune_index

    entities = knowledge_base(args.file, args.encoding)
    # Reading all of it before the model is loaded gives the total and finds a broken line early.
    total = sum(1 for _ in entities())
    max_length = args.max_length or (index.max_length if index is not None else None)
    encoder = EntityEncoder.from_pretrained(args.model or index.model, device=args.device, max_length=max_length)
    built = build_index(encoder, entities(), index=index, batch_size=args.batch_size, total=total)
    if index is None:
        mentions = list(read_mentions(args.queries, encoding=args.encoding)) if args.queries else None
        tune_index(encoder, built, mentions, batch_size=args.batch_size, **tuning)
    return built
