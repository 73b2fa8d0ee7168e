"""Several vectors per entity: Recall@k.

``training`` compares them with one vector, with the same model size and as many training seconds. A small BERT
(2 layers x 128 by default) is trained from the same random weights, once with one text per entity and once with views.
The epochs without views are as many as take the time of those with them, in CPU seconds of one thread. Then the
knowledge base is indexed by one vector per entity, by views, and by views merged at index time.

``indexing`` compares the ways to index and score with one model trained with views: one vector, views, views merged as
MuVER's code merges them and as this package did before (no view with both of its neighbours), short facts joined to the
next one and views cut at 40 characters as in MuVER's data; each with the score of the nearest view and with the sum.

A fifth of the texts is held out; the rest and mentions made from the knowledge base are trained on.
"""

from __future__ import annotations

import argparse
import math
import random
import re
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from common import data_folder, write_results

from modelscope_plugin.config.configuration import default_configuration
from modelscope_plugin.config.training_settings import read_training_settings
from modelscope_plugin.data import Entity, Mention, entity_text, read_documents, read_entities
from modelscope_plugin.data.views import ViewSettings
from modelscope_plugin.encoding import EntityEncoder
from modelscope_plugin.evaluation.evaluate import evaluate
from modelscope_plugin.modeling.random_model import write_random_bert
from modelscope_plugin.retrieval.building import build_index
from modelscope_plugin.retrieval.dense.views.merging import Span, merge_spans
from modelscope_plugin.training.training import train
from modelscope_plugin.types import Vectors

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
    base: Path,
    entities: list[Entity],
    mentions: list[Mention],
    seed: int,
    views: int,
    epochs: int,
    out: Path | None = None,
) -> tuple[EntityEncoder, float, float]:
    """A model, perhaps kept in a folder, the CPU seconds of its training, and its last loss."""
    with tempfile.TemporaryDirectory() as folder:
        out = out or Path(folder, "model")
        settings = read_training_settings(
            default_configuration(), **SETTINGS, seed=seed, views=views, max_epochs=epochs
        )
        started = time.process_time()
        result = train(base, lambda: entities, mentions, out, *settings, device="cpu")
        seconds = time.process_time() - started
        return EntityEncoder.from_pretrained(out, device="cpu"), seconds, result.best.losses[-1]


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


class CachingEncoder:
    """An encoder that encodes every entity text once, cut to so many characters unless it is a whole entity."""

    def __init__(self, encoder: EntityEncoder, whole: set[str]) -> None:
        self.name, self.fingerprint = encoder.name, encoder.fingerprint
        self.dimension, self.max_length = encoder.dimension, encoder.max_length
        self.encode_query = encoder.encode_query
        self.characters: int | None = None
        self._encoder, self._whole = encoder, whole
        self._vectors: dict[str, Vectors] = {}

    def encode_document(self, documents: Sequence[str | Entity], **options: Any) -> Vectors:
        """Encode entities or their texts, float32 (n, dim)."""
        texts = [entity_text(one) if isinstance(one, Entity) else one for one in documents]
        texts = [text if text in self._whole else text[: self.characters] for text in texts]
        new = [text for text in dict.fromkeys(texts) if text not in self._vectors]
        if new:
            self._vectors.update(zip(new, self._encoder.encode_document(new, **options), strict=True))
        return np.stack([self._vectors[text] for text in texts])


def merge_apart(spans: list[Span], vectors: Vectors, share: float) -> tuple[list[Span], list[int]]:
    """Replace the pairs of neighbours that are farthest apart by their union, no view in two of them."""
    gaps = np.linalg.norm(vectors[1:].astype(np.float64) - vectors[:-1], axis=1)
    chosen: set[int] = set()
    for pair in np.argsort(-gaps, kind="stable").tolist():
        if len(chosen) < math.ceil(share * len(gaps)) and not {pair - 1, pair + 1} & chosen:
            chosen.add(pair)
    merged, new = list[Span](), list[int]()
    for position, span in enumerate(spans):
        if position - 1 in chosen:
            new.append(len(merged) - 1)
            merged[-1] = merged[-1][0], span[1]
        else:
            merged.append(span)
    return merged, new


def join_short_facts(entity: Entity) -> Entity:
    """Write a fact of at most 5 tokens together with the next one."""
    facts, held = [], ""
    for predicate, value in entity.facts:
        text = f"{predicate}： {value}"
        if len(re.findall(r"[A-Za-z0-9]+|[^\sA-Za-z0-9]", held + text)) <= 5:
            held += f"{text}； "
        else:
            facts.append((held + predicate, value))
            held = ""
    return replace(entity, facts=(*facts, *([(held.rstrip("； "), "")] if held else [])))


def run_indexing(folder: Path, seed: int, args: argparse.Namespace) -> dict[str, Any]:
    """One seed: a model trained with views, and every way to index and score."""
    entities, train_mentions, dev = load(folder, seed)
    kept = Path(args.models or "", f"{folder.name}-{args.layers}x{args.hidden_size}-{args.views}views-seed{seed}")
    if args.models and kept.is_dir():
        encoder = EntityEncoder.from_pretrained(kept, device="cpu")
    else:
        with tempfile.TemporaryDirectory() as scratch:
            write_base(folder, Path(scratch), seed, args)
            out = kept if args.models else None
            encoder, _, _ = trained(Path(scratch), entities, train_mentions, seed, args.views, args.epochs, out)
    caching = CachingEncoder(encoder, {entity_text(entity) for entity in entities})
    figures: dict[str, Any] = {"seed": seed, "train_mentions": len(train_mentions), "dev_mentions": len(dev)}

    def measure(way: str, source: list[Entity], views: ViewSettings, merge: Callable[..., Any] = merge_spans) -> None:
        for scores in ("max", "sum") if views.max_views > 1 else ("max",):
            settings = replace(views, view_scores=scores, temperature=SETTINGS["temperature"])
            with patch("modelscope_plugin.retrieval.dense.views.encoding.merge_spans", merge):
                index = build_index(caching, source, views=settings)
            recall = evaluate(encoder, index, dev, ks=KS).recall
            figures[f"{way}, {scores}" if views.max_views > 1 else way] = {
                "recall": {k: round(100 * value, 1) for k, value in recall.items()},
                "views_per_entity": round(len(index.vectors) / len(index), 2),
            }

    number, many = args.views, ViewSettings(args.index_views)
    merged = replace(many, merge_rounds=args.merge_rounds, merge_share=args.merge_share)
    measure("one vector", entities, ViewSettings())
    measure(f"{number} views", entities, ViewSettings(number))
    number = args.index_views
    measure(f"{number} views", entities, many)
    measure(f"{number} views merged as published", entities, merged)
    measure(f"{number} views merged apart", entities, merged, merge_apart)
    measure(f"{number} views, short facts joined", [join_short_facts(entity) for entity in entities], many)
    caching.characters = 40
    measure(f"{number} views of 40 characters", entities, many)
    return figures


def load(folder: Path, seed: int) -> tuple[list[Entity], list[Mention], list[Mention]]:
    """The entities, and the mentions to train on and to measure."""
    entities = list(read_entities(folder / "kb.jsonl"))
    return entities, *split(folder / MENTION_FILES[folder.name], {entity.id for entity in entities}, seed)


def write_base(folder: Path, out: Path, seed: int, args: argparse.Namespace) -> None:
    """Write a BERT with random weights."""
    vocabulary = (folder.parent / "bert-chinese-vocab.txt").read_text(encoding="utf-8").split("\n")[:21128]
    write_random_bert(out, vocabulary=vocabulary, seed=seed, hidden_size=args.hidden_size, layers=args.layers)


def run_training(folder: Path, seed: int, args: argparse.Namespace) -> dict[str, Any]:
    """One seed: a model trained with one text per entity and one trained with views."""
    entities, train_mentions, dev = load(folder, seed)
    ways = {
        "one vector": ViewSettings(),
        "views": ViewSettings(args.views),
        "views, merged": ViewSettings(args.views, args.merge_rounds, args.merge_share),
    }
    figures: dict[str, Any] = {"seed": seed, "train_mentions": len(train_mentions), "dev_mentions": len(dev)}
    with tempfile.TemporaryDirectory() as scratch:
        base = Path(scratch)
        write_base(folder, base, seed, args)
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
    """Mean recall over the seeds of every way, of one model or two."""
    found: dict[str, list[dict[int, float]]] = {}
    for figures in runs:
        models = {name: value for name, value in figures.items() if name.startswith("trained with")} or {"": figures}
        for model, ways in models.items():
            for way, value in ways.items():
                if isinstance(value, dict):
                    found.setdefault(", ".join(filter(None, [model, way])), []).append(value["recall"])
    return {
        way: {k: round(statistics.mean(recall[k] for recall in recalls), 1) for k in KS}
        for way, recalls in found.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("training", "indexing"))
    parser.add_argument(
        "--set", choices=tuple(MENTION_FILES), default="oi-wiki", help="data set (default: %(default)s)"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--epochs", type=int, default=6, help="epochs with views (default: %(default)s)")
    parser.add_argument("--views", type=int, default=5, help="views of an entity (default: %(default)s)")
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--hidden-size", type=int, default=128)
    parser.add_argument("--index-views", type=int, default=10, help="views at index time (default: %(default)s)")
    parser.add_argument("--models", metavar="DIR", help="where models trained for indexing are kept and taken from")
    parser.add_argument("--merge-rounds", type=int, default=4)
    parser.add_argument("--merge-share", type=float, default=0.4)
    chosen, _ = parser.parse_known_args()
    args, folder = data_folder(parser, chosen.set)
    torch.set_num_threads(1)
    settings = {name: value for name, value in vars(args).items() if name not in ("data", "models", "seeds")}
    run = run_training if args.part == "training" else run_indexing
    runs: list[dict[str, Any]] = []
    for seed in args.seeds:
        runs.append(run(folder, seed, args))
        # After each seed, so that an interrupted benchmark keeps what it has.
        name = f"multi_view_{'indexing_' * (args.part == 'indexing')}{args.set.replace('-', '_')}"
        write_results(name, {"settings": settings | SETTINGS, "mean_recall": means(runs), "runs": runs})


if __name__ == "__main__":
    main()
