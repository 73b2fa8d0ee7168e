"""``modelscope entity demo``: the whole way from a knowledge base to linked mentions, on the shipped sample."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from modelscope_plugin.cli.arguments import add_command, add_json, add_model
from modelscope_plugin.cli.output import make_linked_rows, make_recall_table, print_json, print_table
from modelscope_plugin.data import Document, read_entities, read_mentions, sample_file
from modelscope_plugin.data.names import normalized_name, shared_names
from modelscope_plugin.errors import InputError

_KS = (1, 4, 16)
_SHOWN = 10
_CANDIDATES_SHOWN = 3

# Measured best on the sample's dev sentences for a model that trains in a minute or two on 2 cores.
_SETTINGS = {
    "max_epochs": 6,
    "batch_size": 128,
    "learning_rate": 2e-3,
    "temperature": 0.1,
    "kb_mentions": 4,
    "emb_pooler_type": "avg",
    "normalize": True,
    "max_length": 96,
}


def register(commands: Any) -> None:
    """Add the sub-command."""
    parser = add_command(commands, "demo", run, "Train, index, link and measure on the shipped sample.")
    add_model(parser, "use this model in place of a small one trained on the sample", required=False)
    parser.add_argument("--out", metavar="DIR", help="keep the model and the index in this folder")
    add_json(parser, "print the result as JSON")


def run(args: argparse.Namespace) -> None:
    """Run the sub-command."""
    if args.out and Path(args.out).exists() and not Path(args.out).is_dir():
        raise InputError(f"{args.out} is a file; name a folder")
    # Before there is a temporary folder: an interrupted import ends the process at once.
    import modelscope_plugin.linking.linker
    import modelscope_plugin.training.training  # noqa: F401

    started = time.monotonic()
    say: Callable[[str], None] = (lambda _: None) if args.json else print
    with nullcontext(args.out) if args.out else tempfile.TemporaryDirectory(prefix="entity-demo-") as folder:
        result = _demo(Path(folder), args.model, args.device, say)
    if args.json:
        print_json(result)
        return
    say(f"\nDone in {time.monotonic() - started:.0f} s.")
    if args.out:
        index = Path(args.out) / "index"
        say(f'Go on with: modelscope entity link --index {index} --text "我想买一斤 [ENT_S] 苹果 [ENT_E]"')


def _demo(folder: Path, model: str | None, device: str | None, say: Callable[[str], None]) -> dict[str, Any]:
    from modelscope_plugin.encoding.encoder import EntityEncoder
    from modelscope_plugin.evaluation.evaluate import evaluate
    from modelscope_plugin.linking.linker import EntityLinker
    from modelscope_plugin.retrieval.building import build_index

    entities = list(read_entities(sample_file("entities")))
    mentions = list(read_mentions(sample_file("test")))
    say(f"Sample knowledge base: {len(entities)} entities, many of which share names.")
    if model is None:
        model = _train(folder, entities, device, say)
    encoder = EntityEncoder.from_pretrained(model, device=device)
    index = build_index(encoder, entities, total=len(entities))
    index.save(folder / "index")
    recall = {
        "name matching": evaluate(encoder, index, mentions, ks=_KS, retrieval="lexical").recall,
        "dual encoder": evaluate(encoder, index, mentions, ks=_KS, show_progress_bar=False).recall,
        "both, names first": evaluate(encoder, index, mentions, ks=_KS, retrieval="hybrid").recall,
    }
    say(f"\n{len(mentions)} sentences that were not trained on, all {len(entities)} entities as candidates:\n")
    if say is print:
        print_table(*make_recall_table(recall))
    names = shared_names(entities)
    shown = [mention for mention in mentions if normalized_name(mention.surface) in names][:_SHOWN]
    documents = [Document(mention.text, (mention,)) for mention in shown]
    linked = EntityLinker(encoder, index).link_documents(documents, top_k=_CANDIDATES_SHOWN)
    say("\nThe first of them whose name several entities share (* is right):\n")
    rows = make_linked_rows(linked, _CANDIDATES_SHOWN)
    for row, document, mention in zip(rows, linked, shown, strict=True):
        document["mentions"][0]["entity_id"] = mention.entity_ids[0]
        for rank, candidate in enumerate(document["mentions"][0]["candidates"], 1):
            row[rank] = ("* " if candidate["id"] in mention.entity_ids else "  ") + row[rank]
    if say is print:
        print_table(rows, ["mention", "best", "second", "third"])
    return {"recall": recall, "mentions": len(mentions), "entities": len(entities), "linked": linked}


def _train(folder: Path, entities: list[Any], device: str | None, say: Callable[[str], None]) -> str:
    from modelscope_plugin.config.configuration import default_configuration
    from modelscope_plugin.config.training_settings import read_training_settings
    from modelscope_plugin.data import entity_text
    from modelscope_plugin.modeling.random_model import write_random_bert
    from modelscope_plugin.training.training import train

    mentions = list(read_mentions(sample_file("train")))
    say(f"Training a small model from random weights on {len(mentions)} sentences ...")
    output = folder / "model"
    with tempfile.TemporaryDirectory(prefix="entity-base-") as base:
        texts = [mention.text for mention in mentions] + [entity_text(entity) for entity in entities]
        write_random_bert(Path(base), texts, layers=1)
        settings = read_training_settings(default_configuration(), **_SETTINGS)
        train(base, lambda: entities, mentions, output, *settings, device=device, overwrite=True)
    return str(output)
