"""``modelscope entity index``: build an index of a knowledge base, add to it, remove from it."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import Any, get_args

from modelscope_plugin.cli import arguments
from modelscope_plugin.cli.inputs import InputFiles
from modelscope_plugin.cli.output import print_json
from modelscope_plugin.data.records import Mention
from modelscope_plugin.data.report import count
from modelscope_plugin.data.views import ViewSettings
from modelscope_plugin.errors import UsageError
from modelscope_plugin.storage.files import check_output_folder
from modelscope_plugin.types import StoragePrecision

logger = logging.getLogger(__name__)

_EXAMPLES = """\
examples:
  modelscope entity index kb.jsonl --model DIR --out INDEX
  modelscope entity index kb.jsonl --model DIR --out INDEX --views 8 --merge-views 2
  modelscope entity index new.jsonl --add --out INDEX
  modelscope entity index --learn-names train.jsonl --out INDEX
  modelscope entity index --remove Q1 Q2 --out INDEX
  modelscope entity index kb.jsonl --model DIR --out INDEX --queries mentions.jsonl --precision int8
"""


# Options that only a new index takes, by the name of their argument.
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
    parser = arguments.add_command(
        commands, "index", run, "Build the index of a knowledge base, or change it.", _EXAMPLES
    )
    # fmt: off
    parser.add_argument("file", nargs="?", metavar="KB",
        help="knowledge base: JSON lines (CCKS or own form), CSV, TSV; also .gz")
    parser.add_argument("--out", required=True, metavar="INDEX", help="folder of the index")
    parser.add_argument("--add", action="store_true",
        help="add the entities to an existing index; entities with the same id are replaced")
    parser.add_argument("--remove", nargs="+", default=[], metavar="ID",
        help="remove these entities from an existing index")
    parser.add_argument("--learn-names", metavar="FILE",
        help="labelled texts; their mentions become additional names of the entities, for retrieval by names")
    defaults = {"max_views": "as in training", "merge_rounds": "that of the model's configuration.json, else 0"}
    arguments.add_setting_options(parser, ViewSettings, defaults=defaults)
    parser.add_argument("--search", metavar="KIND",
        help="how link searches the index: exact, approximate, auto (the default: the faster of the two at its size), "
        "or a kind of FAISS index such as IVF4096,PQ256x4fs or HNSW32,SQ8")
    parser.add_argument("--precision", choices=get_args(StoragePrecision),
        help="what the vectors are stored as (default: float32)")
    parser.add_argument("--truncate-dim", type=arguments.parse_positive, metavar="N",
        help="keep the first N dimensions, of a model trained for it")
    parser.add_argument("--queries", metavar="FILE",
        help="texts with mentions, to measure approximate search, precision and truncation with (default: "
        "made from the entities)")
    # fmt: on
    about = "the model to encode with (with --add: by default the one of the index)"
    arguments.add_encoder_options(parser, about, required=False, processes=True)
    arguments.add_json(parser, "print the result as JSON")


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
        raise UsageError(f"{options} are for building an index; added entities are stored like those of the index")
    from modelscope_plugin.retrieval.entity_index import EntityIndex
    from modelscope_plugin.retrieval.manifest import MANIFEST_FILE

    check_output_folder(Path(args.out), MANIFEST_FILE)
    files, learnt = InputFiles(args), ""
    index = EntityIndex.load(args.out) if args.add or args.file is None else None
    if index is not None and args.remove:
        index.remove(args.remove)
    if index is None or args.file is not None:
        index = _build_or_extend(args, index, files)
    if args.learn_names:
        learnt = _learn_names(index, list(files.read_mentions(args.learn_names)))
        if index.fitted:
            logger.warning(
                "what was fitted before these names were learnt (%s) is to be fitted again", ", ".join(index.fitted)
            )
    renewed = index.renew()
    index.save(args.out)
    files.print_summary(learnt)
    if args.json:
        facts = {"index": args.out, "entities": len(index), "dimension": index.dimension, "model": index.model}
        print_json(facts | index.view_facts | {"search": index.tuning.to_record()})
        return
    print(f"{args.out}: {len(index)} entities, {index.dimension} dimensions, model {index.model}")
    if facts := index.view_facts:
        took = f", {1000 * facts['seconds_per_view']:.2f} ms to encode" if "seconds_per_view" in facts else ""
        print(f"{facts['views']} views, each {facts['bytes_per_view']} bytes{took}")
    print(f"{'trained again, for much of it has changed: ' if renewed else ''}{index.tuning}")


def _learn_names(index: Any, mentions: list[Mention]) -> str:
    """Learn names and say how many there were, and how many mentions were passed over."""
    before = index.lexicon.learn(())
    learnt = index.lexicon.learn(mentions) - before
    ids = set(index.ids)
    unlabelled = sum(not mention.entity_ids for mention in mentions)
    unknown = sum(bool(mention.entity_ids) and ids.isdisjoint(mention.entity_ids) for mention in mentions)
    return (
        f"learnt {count(learnt, 'new name')}; passed over: {count(unlabelled, 'mention')} without a gold entity, "
        f"{count(unknown, 'mention')} of entities that are not in the index"
    )


def _build_or_extend(args: argparse.Namespace, index: Any, files: InputFiles) -> Any:
    from modelscope_plugin.encoding.bulk.local import LocalBulkEncoder
    from modelscope_plugin.retrieval.building import build_index, tune_index
    from modelscope_plugin.retrieval.dense.faiss.tuning import check_choices

    entities = files.make_reader(files.read_entities, args.file)
    # Reading the whole file before the model is loaded gives the total and reports a broken line early.
    total = sum(1 for _ in entities())
    mentions = list(files.read_mentions(args.queries)) if args.queries else None
    options = arguments.get_loading_options(args)
    options["max_length"] = args.max_length or (index.max_length if index is not None else None)
    model, shards = args.model or index.model, arguments.get_shards_folder(args.out)
    with LocalBulkEncoder(model, shards, processes=args.processes, **options) as bulk_encoder:
        encoder = bulk_encoder.encoder
        views, new = None, index is None
        if new:
            check_choices(args.search or "auto", args.truncate_dim, encoder.dimension)
            configuration = arguments.read_model_configuration(encoder.name)
            views = ViewSettings.from_configuration(configuration, **arguments.get_given_settings(args, ViewSettings))
        index = build_index(
            encoder,
            entities(),
            index=index,
            views=views,
            batch_size=args.batch_size,
            bulk_encoder=bulk_encoder,
            total=total,
        )
        if new:
            chosen = {name: getattr(args, name) for name in ("search", "precision", "truncate_dim")}
            chosen = {name: value for name, value in chosen.items() if value is not None}
            tune_index(encoder, index, mentions, batch_size=args.batch_size, **chosen)
        index.save(args.out)
        bulk_encoder.remove_shards()
    return index
