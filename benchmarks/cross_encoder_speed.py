"""Seconds of scoring a mention with 32 candidates, beside sentence-transformers' CrossEncoder with its defaults.

BERT-base with random weights, Chinese contexts and entity texts of their natural length, cut to 128 tokens by both.
Every contender scores the same pairs in each round, one after the other in one process; ratios are medians over the
rounds, of elapsed seconds and of processor seconds: the latter are hardly disturbed by other processes.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import data_folder, write_results
from sentence_transformers import CrossEncoder as OtherCrossEncoder
from sentence_transformers import __version__ as other_version

from modelscope_plugin.data import entity_text, mark_mention, read_entities, read_mentions
from modelscope_plugin.encoding.cross_encoder import CrossEncoder
from modelscope_plugin.modeling.checkpoint_files import load_pair_tokenizer
from modelscope_plugin.modeling.cross_encoder import CrossEncoderModel
from modelscope_plugin.modeling.random_model import write_random_bert

LAYERS, HIDDEN, MAX_LENGTH, CANDIDATES = 12, 768, 128, 32
BASELINE = "sentence-transformers"


def write_model(vocabulary: Path, folder: Path) -> None:
    """Write a cross encoder of the shape of BERT-base with random weights."""
    tokens = vocabulary.read_text(encoding="utf-8").split("\n")[:21128]
    tokens[1:3] = ["[ENT_S]", "[ENT_E]"]  # in place of two unused ones
    base = folder.with_name("base")
    write_random_bert(base, vocabulary=tokens, hidden_size=HIDDEN, layers=LAYERS, max_length=512)
    model = CrossEncoderModel.from_pretrained(base, seed=1)
    CrossEncoder(model, load_pair_tokenizer(base, MAX_LENGTH)).save_pretrained(folder)


def choose_pairs(folder: Path, mentions: int) -> list[list[tuple[str, str]]]:
    """For each of some mentions the pairs with its candidates, drawn at random."""
    draw = random.Random(1)
    texts = [entity_text(entity) for entity in read_entities(folder / "kb.jsonl")]
    contexts = [mark_mention(mention) for mention in read_mentions(folder / "train.jsonl")]
    return [[(context, text) for text in draw.sample(texts, CANDIDATES)] for context in draw.sample(contexts, mentions)]


def measure(score: Callable[[Any], Any], queries: list[list[tuple[str, str]]]) -> dict[str, float]:
    """Elapsed and processor seconds of a mention."""
    started = time.perf_counter(), time.process_time()
    for pairs in queries:
        score(pairs)
    ended = time.perf_counter(), time.process_time()
    names = ("elapsed", "processor")
    return {name: (end - start) / len(queries) for name, start, end in zip(names, started, ended, strict=True)}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mentions", type=int, default=4, help="mentions of a round (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=7, help="rounds (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="threads of all contenders (default: %(default)s)")
    args, folder = data_folder(parser, "ccks2019-sample", argv)
    torch.set_num_threads(args.threads)
    queries = choose_pairs(folder, args.mentions)
    with tempfile.TemporaryDirectory() as work:
        model = Path(work) / "model"
        write_model(folder.parent / "bert-chinese-vocab.txt", model)
        theirs = OtherCrossEncoder(str(model), device="cpu")
        ours = {
            backend: CrossEncoder.from_pretrained(model, device="cpu", backend=backend)
            for backend in ("torch", "onnx", "onnx-int8")
        }
    contenders: dict[str, Callable[[Any], Any]] = {BASELINE: theirs.predict}
    contenders |= {f"ours, {backend}": scorer.predict for backend, scorer in ours.items()}
    for score in contenders.values():
        score(queries[0])
    rounds = [{name: measure(score, queries) for name, score in contenders.items()} for _ in range(args.rounds)]
    tokenizer = ours["torch"].tokenizer
    contexts, texts = map(list, zip(*(pair for pairs in queries for pair in pairs), strict=True))
    lengths = [len(pair.input_ids) for pair in tokenizer.pair_ids(contexts, texts)]
    differences = np.abs(theirs.predict(queries[0]) - ours["torch"].predict(queries[0]))
    figures: dict[str, Any] = {
        "sentence_transformers": other_version,
        "threads": args.threads,
        "mentions": args.mentions,
        "candidates": CANDIDATES,
        "rounds": args.rounds,
        "mean_tokens_of_a_pair": round(statistics.mean(lengths), 1),
        "largest_difference_of_scores": float(f"{differences.max():.1g}"),
    }
    for clock in ("elapsed", "processor"):
        figures[f"{clock}_seconds_of_a_mention"] = {
            name: round(statistics.median(each[name][clock] for each in rounds), 3) for name in contenders
        }
        figures[f"{clock}_times_as_fast"] = {
            name: round(statistics.median(each[BASELINE][clock] / each[name][clock] for each in rounds), 2)
            for name in contenders
        }
    write_results("cross_encoder_speed", figures)


if __name__ == "__main__":
    main()
