"""Pairs per second in training, against ModelScope's built-in sentence-embedding trainer.

The same BERT (random weights), the same pairs of CHIP-CDN, batch 32, window 128 as on the model card, one pass over the
pairs; the two trainers in turn, several rounds. The built-in trainer runs with transformers 4.57 only; it pads every
text to the window.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import transformers
from common import data_folder, write_results

import modelscope_plugin  # noqa: F401  (registers the trainer)
from modelscope_plugin.data import Entity, Mention, entity_text, mark_mention, read_entities, read_mentions
from modelscope_plugin.modeling.random_model import write_random_bert

BATCH, MAX_LENGTH = 32, 128


def builtin_seconds(base: Path, work: Path, pairs: list[tuple[Mention, Entity]]) -> float:
    """One epoch of the built-in trainer."""
    from datasets import Dataset
    from modelscope.msdatasets import MsDataset
    from modelscope.trainers import build_trainer

    def settings(cfg: Any) -> Any:
        cfg.task = "sentence-embedding"
        cfg.preprocessor = {"type": "sentence-embedding", "max_length": MAX_LENGTH}
        cfg.train.dataloader = {"batch_size_per_gpu": BATCH, "workers_per_gpu": 0}
        cfg.train.max_epochs = 1
        cfg.train.optimizer = {"type": "AdamW", "lr": 2e-5, "options": {"grad_clip": {"max_norm": 1.0}}}
        cfg.train.lr_scheduler = {
            "type": "LinearLR", "start_factor": 1.0, "end_factor": 0.0, "total_iters": len(pairs) // BATCH,
            "options": {"by_epoch": False},
        }  # fmt: skip
        cfg.train.hooks = [{"type": "IterTimerHook"}]
        return cfg

    records = [
        {"source_sentence": mark_mention(mention), "sentences_to_compare": [entity_text(entity)]}
        for mention, entity in pairs
    ]
    trainer = build_trainer(
        "nlp-sentence-embedding-trainer",
        default_args={
            "model": str(base), "train_dataset": MsDataset(Dataset.from_list(records)), "work_dir": str(work),
            "cfg_modify_fn": settings, "device": "cpu",
        },
    )  # fmt: skip
    started = time.monotonic()
    trainer.train()
    return time.monotonic() - started


def our_seconds(base: Path, work: Path, pairs: list[tuple[Mention, Entity]]) -> float:
    """One epoch of ours, reading and saving included, without negatives that the built-in trainer does not have."""
    from modelscope.trainers import build_trainer

    def settings(cfg: Any) -> Any:
        cfg.train.max_epochs = 1
        cfg.train.random_negatives = 0
        return cfg

    trainer = build_trainer(
        "entity-embedding-trainer",
        default_args={
            "model": str(base), "knowledge_base": list({entity.id: entity for _, entity in pairs}.values()),
            "train_dataset": [mention for mention, _ in pairs], "work_dir": str(work), "cfg_modify_fn": settings,
            "device": "cpu",
        },
    )  # fmt: skip
    started = time.monotonic()
    trainer.train()
    return time.monotonic() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=640)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--hidden-size", type=int, default=256)
    args, folder = data_folder(parser, "chip-cdn")
    if int(transformers.__version__.split(".")[0]) > 4:
        print(f"skipped: the built-in trainer needs transformers 4.57, this is {transformers.__version__}")
        sys.exit(0)
    entities = {entity.id: entity for entity in read_entities(folder / "kb.jsonl")}
    mentions = [mention for mention in read_mentions(folder / "train.jsonl") if len(mention.entity_ids) == 1]
    pairs = [(mention, entities[mention.entity_ids[0]]) for mention in mentions[: args.pairs]]
    vocabulary = (folder.parent / "bert-chinese-vocab.txt").read_text(encoding="utf-8").split("\n")[:21128]
    seconds: dict[str, list[float]] = {"builtin": [], "ours": []}
    for _ in range(args.rounds):
        with tempfile.TemporaryDirectory() as scratch:
            base = Path(scratch, "base")
            base.mkdir()
            write_random_bert(base, vocabulary=vocabulary, layers=args.layers, hidden_size=args.hidden_size)
            (base / "configuration.json").write_text(
                '{"framework": "pytorch", "task": "sentence-embedding", "model": {"type": "bert"}, "train": {}, '
                '"preprocessor": {"type": "sentence-embedding"}, "pipeline": {"type": "sentence-embedding"}}'
            )
            seconds["builtin"].append(builtin_seconds(base, Path(scratch, "builtin"), pairs))
            seconds["ours"].append(our_seconds(base, Path(scratch, "ours"), pairs))
    figures = {f"{name}_pairs_per_second": [round(len(pairs) / s, 1) for s in times] for name, times in seconds.items()}
    ratio = statistics.median(b / o for b, o in zip(seconds["builtin"], seconds["ours"], strict=True))
    model = {"pairs": args.pairs, "layers": args.layers, "hidden_size": args.hidden_size}
    write_results("builtin_trainer", {**model, **figures, "ratio": round(ratio, 2)})


if __name__ == "__main__":
    main()
