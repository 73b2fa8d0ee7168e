"""Several vectors per entity against one, with the same model size and as many training seconds: Recall@k.

A small BERT (2 layers x 128 by default) is trained from the same random weights, once with one text per entity and once
with views; the epochs without views are as many as take the time of those with them, measured in CPU seconds of one
thread. Then the knowledge base is indexed by one vector per entity, by views, and by views merged at index time. A
fifth of the texts is held out; the rest and mentions made from the knowledge base are trained on.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from common import data_folder, write_results

from modelscope_plugin.config.configuration import default_configuration
from modelscope_plugin.config.training_settings import read_training_settings
from modelscope_plugin.data import Entity, Mention, read_documents, read_entities
from modelscope_plugin.data.views import ViewSettings
from modelscope_plugin.encoding import EntityEncoder
from modelscope_plugin.evaluation.evaluate import evaluate
from modelscope_plugin.modeling.random_model import write_random_bert
from modelscope_plugin.retrieval.building import build_index
from modelscope_plugin.training.training import train

KS = (1, 4, 16, 64)
MENTION_FILES = {"oi-wiki": "mentions.jsonl", "ccks2019-sample": "train.jsonl"}
SETTINGS: dict[str, Any] = {
    "batch_size": 64,
    "learning_rate": 1e-3,
    "temperature": 0.05,
    "random_negatives": 32,
    "kb_mentions": 2,
    "emb_pooler_type": "avg",
    "normalize": True,
    "max_length": 64,
    "skip_unknown": True,
}


def split(file: Path, known: set[str], seed: int) -> tuple[list[Mention], list[Mention]]:
    """The mentions to train on and, of a fifth of the texts, those to measure; equal texts stay together."""
    texts: dict[str, list[Mention]] = {}
    for document in read_documents(file):
        usable = [mention for mention in document.mentions if not known.isdisjoint(mention.entity_ids)]
        texts.setdefault(document.text, []).extend(usable)
    order = sorted(text for text, mentions in texts.items() if mentions)
    random.Random(seed).shuffle(order)
    held = len(order) // 5
    return tuple([one for text in part for one in texts[text]] for part in (order[held:], order[:held]))  # type: ignore[return-value]


def trained(
    base: Path, entities: list[Entity], mentions: list[Mention], seed: int, views: int, epochs: int
) -> tuple[EntityEncoder, float, float]:
    """A model, the CPU seconds of its training, and its last loss."""
    with tempfile.TemporaryDirectory() as folder:
        settings = read_training_settings(
            default_configuration(), **SETTINGS, seed=seed, views=views, max_epochs=epochs
        )
        started = time.process_time()
        result = train(base, lambda: entities, mentions, Path(folder, "model"), *settings, device="cpu")
        seconds = time.process_time() - started
        return EntityEncoder.from_pretrained(Path(folder, "model"), device="cpu"), seconds, result.best.losses[-1]


def measured(
    encoder: EntityEncoder, entities: list[Entity], mentions: list[Mention], views: ViewSettings
) -> dict[str, Any]:
    """Recall over the whole knowledge base, and what the views cost."""
    started = time.process_time()
    index = build_index(encoder, entities, views=views)
    built = time.process_time() - started
    recall = evaluate(encoder, index, mentions, ks=KS).recall
    return {
        "recall": {k: round(100 * value, 1) for k, value in recall.items()},
        "views_per_entity": round(len(index.vectors) / len(index), 2),
        "index_seconds": round(built, 2),
        "milliseconds_per_view": round(1000 * built / len(index.vectors), 2),
    }


def run(folder: Path, seed: int, args: argparse.Namespace) -> dict[str, Any]:
    """One seed: both models, and every way of indexing."""
    entities = list(read_entities(folder / "kb.jsonl"))
    known = {entity.id for entity in entities}
    train_mentions, dev = split(folder / MENTION_FILES[folder.name], known, seed)
    vocabulary = (folder.parent / "bert-chinese-vocab.txt").read_text(encoding="utf-8").split("\n")[:21128]
    ways = {
        "one vector": ViewSettings(),
        "views": ViewSettings(args.views),
        "views, merged": ViewSettings(args.views, args.merge_rounds, args.merge_share),
    }
    figures: dict[str, Any] = {"seed": seed, "train_mentions": len(train_mentions), "dev_mentions": len(dev)}
    with tempfile.TemporaryDirectory() as scratch:
        base = Path(scratch)
        write_random_bert(base, vocabulary=vocabulary, seed=seed, hidden_size=args.hidden_size, layers=args.layers)
        several = trained(base, entities, train_mentions, seed, args.views, args.epochs)
        _, first, _ = trained(base, entities, train_mentions, seed, 1, 1)
        _, both, _ = trained(base, entities, train_mentions, seed, 1, 2)
        # What does not depend on the epochs is paid once.
        epochs = max(1, 1 + round((several[1] - first) / (both - first)))
        one = trained(base, entities, train_mentions, seed, 1, epochs)
    for name, epochs_run, (encoder, seconds, loss) in (
        ("trained with one text", epochs, one),
        ("trained with views", args.epochs, several),
    ):
        figures[name] = {"epochs": epochs_run, "seconds": round(seconds, 1), "loss": round(loss, 3)}
        figures[name] |= {way: measured(encoder, entities, dev, views) for way, views in ways.items()}
    return figures


def means(runs: list[dict[str, Any]]) -> dict[str, dict[int, float]]:
    """Mean recall over the seeds of every way."""
    return {
        f"{model}, {way}": {
            k: round(statistics.mean(one[model][way]["recall"][k] for one in runs), 1) for k in KS
        }
        for model in ("trained with one text", "trained with views")
        for way in ("one vector", "views", "views, merged")
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--set", choices=tuple(MENTION_FILES), default="oi-wiki", help="data set (default: %(default)s)"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--epochs", type=int, default=6, help="epochs with views (default: %(default)s)")
    parser.add_argument("--views", type=int, default=5, help="views of an entity (default: %(default)s)")
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--hidden-size", type=int, default=128)
    parser.add_argument("--merge-rounds", type=int, default=2)
    parser.add_argument("--merge-share", type=float, default=0.4)
    chosen, _ = parser.parse_known_args()
    args, folder = data_folder(parser, chosen.set)
    torch.set_num_threads(1)
    settings = {name: value for name, value in vars(args).items() if name not in ("data", "seeds")}
    runs: list[dict[str, Any]] = []
    for seed in args.seeds:
        runs.append(run(folder, seed, args))
        # After each seed, so that an interrupted benchmark keeps what it has.
        name = f"multi_view_{args.set.replace('-', '_')}"
        write_results(name, {"settings": settings | SETTINGS, "mean_recall": means(runs), "runs": runs})


if __name__ == "__main__":
    main()
