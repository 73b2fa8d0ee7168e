"""``modelscope entity index``: build an index of a knowledge base, add to it, remove from it."""

from __future__ import annotations

import argparse
import logging
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from modelscope_plugin.cli import arguments
from modelscope_plugin.cli.inputs import InputFiles
from modelscope_plugin.cli.output import print_json, print_line
from modelscope_plugin.data.records import Mention
from modelscope_plugin.data.report import count
from modelscope_plugin.data.views import ViewSettings
from modelscope_plugin.errors import IndexFolderError, InputError, UsageError
from modelscope_plugin.storage.atomic_write import check_output_folder, recover_folder
from modelscope_plugin.storage.locks import lock_folder
from modelscope_plugin.types import StoragePrecision

if TYPE_CHECKING:
    from modelscope_plugin.retrieval import EntityIndex

logger = logging.getLogger(__name__)

_EXAMPLES = """\
examples:
  modelscope entity index kb.jsonl --model DIR --out INDEX
  modelscope entity index kb.jsonl --model DIR --out INDEX --views 8 --merge-views 2
  modelscope entity index new.jsonl --add --out INDEX
  modelscope entity index --learn-names train.jsonl --out INDEX
  modelscope entity index --count-mentions texts.jsonl --out INDEX
  modelscope entity index --remove Q1 Q2 --out INDEX
  modelscope entity index --sync kb.jsonl --out INDEX
  modelscope entity index kb.jsonl --model DIR --out INDEX --queries mentions.jsonl --precision int8
  modelscope entity index kb.jsonl --model DIR --out INDEX --overwrite --keep-fitted
  modelscope entity index --verify --out INDEX
"""


# Options that only a new index takes, by the name of their argument.
_BUILDING = {
    "max_views": "--views",
    "merge_rounds": "--merge-views",
    "view_scores": "--view-scores",
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
        help="add the entities to an existing index; those of the same id are replaced if they differ")
    parser.add_argument("--sync", action="store_true",
        help="make an existing index that of the file: add what is new, replace what has changed, remove what the file "
        "lacks; only what is new or has changed is encoded")
    parser.add_argument("--remove", nargs="+", default=[], metavar="ID",
        help="remove these entities from an existing index")
    parser.add_argument("--remove-from", metavar="FILE",
        help="remove the entities of a file: an id on each line, or a knowledge base, of which only the ids are read")
    parser.add_argument("--learn-names", metavar="FILE",
        help="labelled texts; their mentions become additional names of the entities, for retrieval by names")
    parser.add_argument("--count-mentions", metavar="FILE",
        help="texts in which all mentions are marked; how often each name is a mention where it stands decides what "
        "link --detect finds (extra: detect)")
    defaults = {
        "max_views": "as in training",
        "merge_rounds": "that of the model's configuration.json, else 0",
        "view_scores": "that of the model's configuration.json, else max",
    }
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
    parser.add_argument("--overwrite", action="store_true", help="replace the index that is in the folder")
    parser.add_argument(
        "--keep-fitted",
        action="store_true",
        help="with --overwrite: take over learnt names of entities that are still there and, for the same model, what "
        "was fitted",
    )
    parser.add_argument(
        "--verify",
        action="store_true",
        help="check the checksums of all files, about a second for 500 MB; every command that changes an index does",
    )
    arguments.add_wait(parser)
    about = "the model to encode with (with --add: by default the one of the index)"
    arguments.add_encoder_options(parser, about, required=False, processes=True)
    arguments.add_json(parser, "print the result as JSON")


def run(args: argparse.Namespace) -> None:
    """Run the sub-command."""
    is_removing = args.remove or args.remove_from
    has_change = args.file is not None or is_removing or args.learn_names or args.count_mentions
    if not has_change and not args.verify:
        raise UsageError(
            "nothing to do: name a knowledge base, texts to --learn-names from or to --count-mentions in, or ids to "
            "--remove"
        )
    if is_removing and (args.file is not None or args.add):
        raise UsageError("--remove takes ids alone; run the command twice to add and to remove")
    if args.sync and args.file is None:
        raise UsageError("--sync needs a knowledge base")
    if args.sync and args.skip_broken:
        raise UsageError("--sync removes what the file lacks, also entities whose record is broken; mend the records")
    args.add = args.add or args.sync
    if args.file is not None and not args.add and args.model is None:
        raise UsageError("--model is needed to build an index")
    if (args.add or args.file is None) and any(getattr(args, name) is not None for name in _BUILDING):
        options = ", ".join(_BUILDING.values())
        raise UsageError(f"{options} are for building an index; added entities are stored like those of the index")
    if args.keep_fitted and not args.overwrite:
        raise UsageError("--keep-fitted goes with --overwrite")
    if args.overwrite and (args.add or args.file is None):
        raise UsageError("--overwrite is for building an index; --add, --remove and --learn-names change the one there")
    from modelscope_plugin.retrieval.entity_index import EntityIndex
    from modelscope_plugin.retrieval.manifest import MANIFEST_FILE

    if not has_change:
        _report(args, EntityIndex.load(args.out, verify=True), Counter(), renewed=False)
        return
    check_output_folder(Path(args.out), MANIFEST_FILE)
    files, learnt = InputFiles(args), ""
    with lock_folder(Path(args.out), args.wait):
        recover_folder(Path(args.out))
        index, earlier = None, None
        if args.add or args.file is None:
            index = EntityIndex.load(args.out, verify=True)
        elif (Path(args.out) / MANIFEST_FILE).exists():
            earlier = _check_overwrite(args)
        changes: Counter[str] = Counter()
        if index is not None and is_removing:
            listed = files.read_entity_ids(args.remove_from) if args.remove_from else ()
            ids = list(dict.fromkeys([*args.remove, *listed]))
            index.remove(ids)
            changes["removed"] = len(ids)
        if index is None or args.file is not None:
            index, changes = _build_or_extend(args, index, files)
        if earlier is not None:
            _keep_fitted(earlier, index)
        if args.learn_names:
            learnt = _learn_names(index, list(files.read_mentions(args.learn_names)))
            if fitted := ", ".join(name for name in index.fitted.names if name != "detection"):
                logger.warning("what was fitted before these names were learnt (%s) is to be fitted again", fitted)
        if args.count_mentions:
            learnt = "; ".join(filter(None, (learnt, _count_mentions(index, files, args.count_mentions))))
            if index.fitted.detection_threshold is not None:
                logger.warning("the threshold of detection was fitted for earlier counts; fit it again")
        renewed = index.renew()
        index.save(args.out)
        if args.file is not None:
            from modelscope_plugin.encoding.bulk.local import remove_shards

            # Also where nothing had to be encoded: a run that was killed when its index was whole leaves them.
            remove_shards(arguments.get_shards_folder(args.out))
    files.print_summary(learnt)
    _report(args, index, changes, renewed=renewed is not None)


def _check_overwrite(args: argparse.Namespace) -> EntityIndex | None:
    """Refuse to replace an index without ``--overwrite``; the earlier one, where something of it is to be kept."""
    from modelscope_plugin.retrieval.entity_index import EntityIndex

    if args.overwrite and not args.keep_fitted:
        return None
    try:
        earlier = EntityIndex.load(args.out)
        learned, fitted = len(earlier.lexicon.learned), earlier.fitted.names
        parts = [f"{len(earlier)} entities", *([f"{learned} learnt names"] if learned else [])]
        held = ", ".join([*parts, *(f"fitted {name}" for name in fitted)])
    except IndexFolderError as error:
        if args.overwrite:
            raise
        held = f"a damaged index ({error})"
    if not args.overwrite:
        raise UsageError(
            f"{args.out} holds {held}; replace it with --overwrite (and --keep-fitted), or change it with --add"
        )
    return earlier


def _keep_fitted(earlier: EntityIndex, index: EntityIndex) -> None:
    """Give an index what still holds of an earlier one."""
    index.lexicon.learn_pairs(earlier.lexicon.learned_pairs())
    index.lexicon.link_counts = earlier.lexicon.link_counts
    kept, was = (
        (one.fingerprint, one.view_settings, one.tuning.precision, one.tuning.truncate_dim) for one in (index, earlier)
    )
    if kept == was:
        index.fitted = earlier.fitted
        return
    # Finding mentions takes no vectors.
    index.fitted = replace(index.fitted, detection_threshold=earlier.fitted.detection_threshold)
    if fitted := ", ".join(name for name in earlier.fitted.names if name != "detection"):
        logger.warning("what was fitted (%s) is not kept: vectors or scores are others now; fit it again", fitted)


def _report(args: argparse.Namespace, index: EntityIndex, changes: Counter[str], *, renewed: bool) -> None:
    if args.json:
        facts = {"index": args.out, "entities": len(index), "dimension": index.dimension, "model": index.model}
        quality = {} if index.quality is None else {"quality": index.quality.to_record()}
        print_json(facts | changes | index.view_facts | {"search": index.tuning.to_record()} | quality)
        return
    print_line(f"{args.out}: {len(index)} entities, {index.dimension} dimensions, model {index.model}")
    if changes:
        print_line(", ".join(f"{count} {change}" for change, count in changes.items()))
    if facts := index.view_facts:
        took = f", {1000 * facts['seconds_per_view']:.2f} ms to encode" if "seconds_per_view" in facts else ""
        print_line(f"{facts['views']} views, each {facts['bytes_per_view']} bytes{took}")
    print_line(f"{'trained again, for much of it has changed: ' if renewed else ''}{index.tuning}")
    if index.quality is not None:
        print_line(str(index.quality))


def _learn_names(index: EntityIndex, mentions: list[Mention]) -> str:
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


def _count_mentions(index: EntityIndex, files: InputFiles, path: str) -> str:
    """Count how often names are mentions, and say what was counted."""
    from modelscope_plugin.linking.detection.counting import count_mentions

    counts = count_mentions(index, files.read_documents(path, unmarked=True))
    stands, mentions = (sum(pair[part] for pair in counts.values()) for part in (0, 1))
    return f"{count(len(counts), 'name')} stand {stands:,} times in these texts, {mentions:,} times as mentions"


def _build_or_extend(
    args: argparse.Namespace, index: EntityIndex | None, files: InputFiles
) -> tuple[EntityIndex, Counter[str]]:
    """The index of a knowledge base, or one with its entities, and what changed."""
    from modelscope_plugin.encoding.bulk.local import LocalBulkEncoder
    from modelscope_plugin.retrieval.building import tune_index
    from modelscope_plugin.retrieval.dense.faiss.search_choice import check_choices
    from modelscope_plugin.retrieval.indexing import index_entities
    from modelscope_plugin.retrieval.knowledge_base import KnowledgeBase
    from modelscope_plugin.retrieval.measuring import update_quality

    read = files.make_reader(files.read_entities, args.file)
    is_new = index is None
    known = KnowledgeBase() if index is None else index.knowledge_base
    changes, ids = Counter({"added": 0, "changed": 0, "unchanged": 0, "removed": 0}), set()
    # Reading the whole file before the model is loaded gives the total and reports a broken line early.
    for entity in read():
        ids.add(entity.id)
        before = known.get(entity.id)
        changes["added" if before is None else "unchanged" if before == entity else "changed"] += 1
    if index is not None and args.sync:
        if not ids:
            raise InputError(f"{args.file} holds no entity; remove an index that is to be empty")
        gone = [one for one in index.ids if one not in ids]
        index.remove(gone)
        changes["removed"] = len(gone)
    total = changes["added"] + changes["changed"]
    # Another model or window than that of the index is refused even where nothing is to be encoded.
    if index is not None and not total and args.model is None and args.max_length is None:
        return index, changes
    entities = (entity for entity in read() if known.get(entity.id) != entity)
    mentions = list(files.read_mentions(args.queries)) if args.queries else None
    options = arguments.get_loading_options(args)
    options["max_length"] = args.max_length or (None if index is None else index.max_length)
    model, shards = args.model or getattr(index, "model", ""), arguments.get_shards_folder(args.out)
    with LocalBulkEncoder(model, shards, processes=args.processes, **options) as bulk_encoder:
        encoder = bulk_encoder.encoder
        views = None
        if is_new:
            check_choices(args.search or "auto", args.truncate_dim, encoder.dimension)
            configuration = arguments.read_model_configuration(encoder.name)
            views = ViewSettings.from_configuration(configuration, **arguments.get_given_settings(args, ViewSettings))
        index = index_entities(
            encoder,
            entities,
            index=index,
            views=views,
            batch_size=args.batch_size,
            bulk_encoder=bulk_encoder,
            total=total,
        )
        if is_new:
            chosen = {name: getattr(args, name) for name in ("search", "precision", "truncate_dim")}
            chosen = {name: value for name, value in chosen.items() if value is not None}
            tune_index(encoder, index, mentions, batch_size=args.batch_size, **chosen)
        update_quality(encoder, index, batch_size=args.batch_size)
    return index, Counter() if is_new else changes
