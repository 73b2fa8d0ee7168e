"""What each choice of the training gives: one thing changed at a time, Recall@k on CHIP-CDN dev mentions with one gold.

First stage one from random weights (a BERT of 2 layers x 128), then stage two from one and the same stage-one model.
The defaults in configuration.json follow from this.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from common import data_folder, write_results

from modelscope_plugin.modeling.random_model import write_random_bert

KS = (1, 4, 16, 64, 128)
COMMON = {
    "--pooling": "avg",
    "--temperature": "0.05",
    "--learning-rate": "1e-3",
    "--batch-size": "128",
    "--max-length": "64",
    "--random-negatives": "128",
}
STAGE_ONE: dict[str, dict[str, str]] = {
    "random negatives 128": {},
    "plain in-batch negatives": {"--random-negatives": "0"},
    "random negatives 32": {"--random-negatives": "32"},
    "random negatives 512": {"--random-negatives": "512"},
    "dropout 0.1": {"--dropout": "0.1"},
    "batch 512, cached": {"--batch-size": "512", "--mini-batch-size": "64", "--learning-rate": "2e-3"},
    "symmetric loss": {"--symmetric": ""},
    "temperature 0.03": {"--temperature": "0.03"},
    "[CLS]": {"--pooling": "cls"},
    "[CLS], dropout 0.1": {"--pooling": "cls", "--dropout": "0.1"},
}
STAGE_TWO: dict[str, dict[str, str]] = {
    "4 hard negatives of 50 from ranks 1-100": {},
    "none, as many epochs more": {"--hard-negatives": "0"},
    "2 hard negatives": {"--hard-negatives": "2"},
    "8 hard negatives": {"--hard-negatives": "8"},
    "4 fixed, not drawn anew": {"--num-negatives": "4"},
    "ranks 1-20": {"--range-max": "20"},
    "ranks 1-400": {"--range-max": "400"},
    "ranks 6-100": {"--range-min": "5"},
    "margin 0.1": {"--absolute-margin": "0.1"},
    "no random negatives": {"--random-negatives": "0"},
    "learning rate 5e-4": {"--learning-rate": "5e-4"},
    "temperature 0.03": {"--temperature": "0.03"},
    "batch 512, cached": {"--batch-size": "512", "--mini-batch-size": "64", "--learning-rate": "2e-3"},
}
MINING = ("--num-negatives", "--range-min", "--range-max", "--absolute-margin")


def entity(*arguments: object) -> str:
    """Run a sub-command as a process."""
    command = [sys.executable, "-m", "modelscope_plugin", *map(str, arguments)]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def train(base: Path, train_file: Path, folder: Path, out: Path, seed: int, options: dict[str, str]) -> dict[str, Any]:
    """Train one stage and return what it gave."""
    items = [item for pair in options.items() for item in pair if item]
    output = entity(
        "train", "--model", base, "--kb", folder / "kb.jsonl", "--train", train_file, "--dev", folder / "dev.jsonl",
        "--out", out, "--seed", seed, "--normalize", "--json", "--k", *KS, *items,
    )  # fmt: skip
    (stage,) = json.loads(output)["stages"]
    recall = {k: round(100 * stage["evaluation"][f"single_gold_recall@{k}"], 1) for k in KS}
    return {"recall": recall, "seconds": stage["seconds"], "loss": round(stage["losses"][-1], 3)}


def stage_one(base: Path, folder: Path, work: Path, args: argparse.Namespace) -> Any:
    """Each choice of stage one, from the same random weights."""
    for number, (name, change) in enumerate(STAGE_ONE.items()):
        options = COMMON | {"--epochs": args.epochs} | change
        yield name, train(base, folder / "train.jsonl", folder, work / f"one-{number}", args.seed, options)


def stage_two(base: Path, folder: Path, work: Path, args: argparse.Namespace) -> Any:
    """Each choice of stage two, from the same stage-one model."""
    first, index = work / "one", work / "index"
    yield "stage one", train(base, folder / "train.jsonl", folder, first, args.seed, COMMON | {"--epochs": args.epochs})
    entity("index", folder / "kb.jsonl", "--model", first, "--out", index)
    for number, (name, change) in enumerate(STAGE_TWO.items()):
        negatives = work / f"negatives-{number}.jsonl"
        mining = [item for key in MINING if key in change for item in (key, change[key])]
        report = entity("mine", folder / "train.jsonl", "--index", index, "--out", negatives, "--json", *mining)
        options = COMMON | {"--epochs": args.stage_two_epochs}
        options |= {key: value for key, value in change.items() if key not in MINING}
        result = train(first, negatives, folder, work / f"two-{number}", args.seed, options)
        yield name, result | {"mean_margin": round(json.loads(report)["mean_margin"], 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("stage_one", "stage_two"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--epochs", default="5")
    parser.add_argument("--stage-two-epochs", default="3")
    args, folder = data_folder(parser, "chip-cdn")
    vocabulary = (folder.parent / "bert-chinese-vocab.txt").read_text(encoding="utf-8").split("\n")[:21128]
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        base, work = Path(scratch, "base"), Path(scratch)
        base.mkdir()
        write_random_bert(base, vocabulary=vocabulary, seed=args.seed)
        for name, result in {"stage_one": stage_one, "stage_two": stage_two}[args.part](base, folder, work, args):
            figures[name] = result
            # After each, so that an interrupted benchmark keeps what it has.
            settings = {"seed": args.seed, "epochs": args.epochs, "stage_two_epochs": args.stage_two_epochs, **COMMON}
            write_results(f"training_choices_{args.part}", {"settings": settings, "single_gold_recall": figures})


if __name__ == "__main__":
    main()
