"""CHIP-CDN through the command line: train a small encoder from random weights, index, evaluate.

Clinical diagnoses are linked to 37,645 ICD-10 terms. The base is a BERT of 2 layers x 128 with random weights and
the vocabulary of Chinese BERT; pooling is ``avg`` because training from scratch with [CLS] collapses (``--pooling
cls`` shows it). Recall is over the whole knowledge base, on all dev mentions and on those with one gold entity.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import data_folder, write_results

from modelscope_plugin.data import read_entities, read_mentions
from modelscope_plugin.metrics.evaluation import score_rankings
from modelscope_plugin.metrics.name_matching import NameMatcher
from modelscope_plugin.models.scratch import write_random_bert

KS = ["1", "4", "16", "64", "128"]
SETTINGS = {
    "--epochs": "8",
    "--batch-size": "128",
    "--learning-rate": "1e-3",
    "--temperature": "0.05",
    "--max-length": "64",
}


def entity(*arguments: object) -> tuple[str, float]:
    """Run a sub-command as a process; its output and seconds."""
    started = time.monotonic()
    command = [sys.executable, "-m", "modelscope_plugin", *map(str, arguments)]
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return result.stdout, time.monotonic() - started


def name_matching(folder: Path) -> dict[str, float]:
    """What matching names alone finds, on the same mentions."""
    entities = list(read_entities(folder / "kb.jsonl"))
    mentions = [mention for mention in read_mentions(folder / "dev.jsonl") if mention.entity_ids]
    matcher = NameMatcher(entities)
    rankings = [matcher.search(mention.surface, int(KS[-1])) for mention in mentions]
    result = score_rankings(rankings, mentions, [entity.id for entity in entities], map(int, KS))
    return {key: round(value, 4) for key, value in result.to_record().items() if "recall" in key}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[42], help="one run for each (default: 42)")
    parser.add_argument("--pooling", default="avg", help="emb_pooler_type (default: %(default)s)")
    parser.add_argument("--epochs", default=SETTINGS["--epochs"])
    parser.add_argument("--learning-rate", default=SETTINGS["--learning-rate"])
    parser.add_argument("--temperature", default=SETTINGS["--temperature"])
    args, folder = data_folder(parser, "chip-cdn")
    vocabulary = (folder.parent / "bert-chinese-vocab.txt").read_text(encoding="utf-8").split("\n")[:21128]
    settings = SETTINGS | {
        "--epochs": args.epochs,
        "--learning-rate": args.learning_rate,
        "--temperature": args.temperature,
        "--pooling": args.pooling,
    }
    names = name_matching(folder)
    runs: list[dict[str, Any]] = []
    for seed in args.seeds:
        with tempfile.TemporaryDirectory() as scratch:
            work = Path(scratch)
            (work / "base").mkdir()
            write_random_bert(work / "base", vocabulary=vocabulary, seed=seed)
            options = [item for pair in settings.items() for item in pair]
            output, train_seconds = entity(
                "train", "--model", work / "base", "--kb", folder / "kb.jsonl", "--train", folder / "train.jsonl",
                "--out", work / "model", "--normalize", "--seed", seed, "--json", *options,
            )  # fmt: skip
            trained = json.loads(output)
            _, index_seconds = entity("index", folder / "kb.jsonl", "--model", work / "model", "--out", work / "index")
            output, _ = entity("evaluate", folder / "dev.jsonl", "--index", work / "index", "--k", *KS, "--json")
            runs.append(
                {
                    "seed": seed,
                    "train_seconds": round(train_seconds, 1),
                    "index_seconds": round(index_seconds, 1),
                    "losses": [round(loss, 4) for loss in trained["losses"]],
                    "collapsed": trained["collapsed"],
                    **{k: round(v, 4) if isinstance(v, float) else v for k, v in json.loads(output).items()},
                }
            )
    name = "chip_cdn" if args.pooling == "avg" else f"chip_cdn_{args.pooling}"
    write_results(name, {"settings": settings, "name_matching": names, "runs": runs})


if __name__ == "__main__":
    main()
