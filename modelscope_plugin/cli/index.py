"""``modelscope entity index``: build an index of a knowledge base, add to it, remove from it."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import Any

from modelscope_plugin.cli.arguments import (
    add_command,
    add_encoding,
    add_file_encoding,
    add_json,
    add_model,
    add_processes,
    loading,
    positive,
    read_again,
    shards_folder,
    view_settings,
)
from modelscope_plugin.cli.output import print_json
from modelscope_plugin.data.readers import read_entities, read_mentions
from modelscope_plugin.errors import UsageError
from modelscope_plugin.storage.files import check_output_folder

logger = logging.getLogger(__name__)

# Those of the vector store, which imports numpy.
_PRECISIONS = ("float32", "float16", "int8")
_EXAMPLES = """\
examples:
  modelscope entity index kb.jsonl --model DIR --out INDEX
  modelscope entity index kb.jsonl --model DIR --out INDEX --views 8 --merge-views 2
  modelscope entity index new.jsonl --add --out INDEX
  modelscope entity index --learn-names train.jsonl --out INDEX
  modelscope entity index --remove Q1 Q2 --out INDEX
  modelscope entity index kb.jsonl --model DIR --out INDEX --queries mentions.jsonl --precision int8
"""


_BUILDING = {
    "max_views": "--views",
    "merge_rounds": "--merge-views",
    "search": "--search",
    "precision": "--precision",
    "truncate_dim": "--truncate-dim",
    "queries": "--queries",
}


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
    parser.add_argument(
        "--learn-names",
        metavar="FILE",
        help="labelled texts whose mentions become further names of their entities, for retrieval by names",
    )
    add_model(parser, "the model to encode with (with --add: by default the one of the index)", required=False)
    parser.add_argument(
        "--views",
        dest="max_views",
        type=positive,
        metavar="N",
        help="vectors of an entity at most: itself, and its name with each sentence and fact (default: as in training)",
    )
    parser.add_argument(
        "--merge-views",
        dest="merge_rounds",
        type=int,
        metavar="ROUNDS",
        help="merge neighbouring views that are far apart into longer ones, on top, for so many rounds",
    )
    parser.add_argument(
        "--search",
        metavar="KIND",
        help="how link searches the index: exact, approximate, auto (the default: the faster of the two at its size), "
        "or a kind of FAISS index such as IVF4096,PQ256x4fs or HNSW32,SQ8",
    )
    parser.add_argument("--precision", choices=_PRECISIONS, help="what the vectors are stored as (default: float32)")
    parser.add_argument(
        "--truncate-dim", type=positive, metavar="N", help="keep the first N dimensions, of a model trained for it"
    )
    parser.add_argument(
        "--queries",
        metavar="FILE",
        help="texts with mentions, on which approximate search, precision and truncation are measured (default: made "
        "from the entities)",
    )
    add_encoding(parser)
    add_processes(parser)
    add_file_encoding(parser)
    add_json(parser, "print the result as JSON")


def run(args: argparse.Namespace) -> None:
    """Run the sub-command."""
    if args.file is None and not args.remove and not args.learn_names:
        raise UsageError("nothing to do: name a knowledge base, texts to --learn-names from, or ids to --remove")
    if args.remove and (args.file is not None or args.add):
        raise UsageError("--remove takes ids alone; run the command twice to add and to remove")
    if args.file is not None and not args.add and args.model is None:
        raise UsageError("--model is needed to build an index")
    if (args.add or args.file is None) and any(getattr(args, name) is not None for name in _BUILDING):
        options = ", ".join(_BUILDING.values())
        raise UsageError(f"{options} are for building an index; what is added is made like what is there")
    from modelscope_plugin.retrieval.entity_index import EntityIndex
    from modelscope_plugin.retrieval.manifest import MANIFEST_FILE

    check_output_folder(Path(args.out), MANIFEST_FILE)
    index = EntityIndex.load(args.out) if args.add or args.file is None else None
    if index is not None and args.remove:
        index.remove(args.remove)
    if index is None or args.file is not None:
        index = _add(args, index)
    if args.learn_names:
        index.lexicon.learn(read_mentions(args.learn_names, encoding=args.encoding))
        if index.fitted.names:
            fitted = ", ".join(index.fitted.names)
            logger.warning("what was fitted before these names were learnt (%s) is to be fitted again", fitted)
    renewed = index.renew()
    index.save(args.out)
    if args.json:
        facts = {"index": args.out, "entities": len(index), "dimension": index.dimension, "model": index.model}
        print_json(facts | index.view_facts | {"search": index.tuning.to_record()})
        return
    print(f"{args.out}: {len(index)} entities, {index.dimension} dimensions, model {index.model}")
    if facts := index.view_facts:
        took = f", {1000 * facts['seconds_per_view']:.2f} ms to encode" if "seconds_per_view" in facts else ""
        print(f"{facts['views']} views, each {facts['bytes_per_view']} bytes{took}")
    print(f"{'trained again, for much of it has changed: ' if renewed else ''}{index.tuning}")


def _add(args: argparse.Namespace, index: Any) -> Any:
    from modelscope_plugin.encoding.bulk.local import EncodingJob
    from modelscope_plugin.retrieval.building import build_index, tune_index
    from modelscope_plugin.retrieval.dense.faiss.tuning import check_choices

    entities = read_again(read_entities, args.file, args.encoding)
    # Reading all of it before the model is loaded gives the total and finds a broken line early.
    total = sum(1 for _ in entities())
    mentions = list(read_mentions(args.queries, encoding=args.encoding)) if args.queries else None
    options = loading(args)
    options["max_length"] = args.max_length or (index.max_length if index is not None else None)
    with EncodingJob(args.model or index.model, shards_folder(args.out), processes=args.processes, **options) as job:
        views, new = None, index is None
        if new:
            check_choices(args.search or "auto", args.truncate_dim, job.encoder.dimension)
            views = view_settings(job.encoder.name, max_views=args.max_views, merge_rounds=args.merge_rounds)
        index = build_index(
            job.encoder, entities(), index=index, views=views, batch_size=args.batch_size, job=job, total=total
        )
        if new:
            chosen = {name: getattr(args, name) for name in ("search", "precision", "truncate_dim")}
            chosen = {name: value for name, value in chosen.items() if value is not None}
            tune_index(job.encoder, index, mentions, batch_size=args.batch_size, **chosen)
        index.save(args.out)
        job.remove()
    return index
