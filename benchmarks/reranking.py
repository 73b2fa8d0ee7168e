"""Re-ranking measured: the first step's order, late interaction, a cross encoder, and sentence-transformers' one.

For each data set the dual encoder of the first step is a BERT of 2 layers x 128 from random weights, trained by
``modelscope entity train``, or one that was made before (``--models DIR``, with ``DIR/SET/model``). The re-rankers
start from it and are trained by ``modelscope entity train-reranker``. sentence-transformers' ``CrossEncoder`` starts
from it too and is trained for the same processor seconds on pairs of the same lists, with its default loss.

Each order is measured alone (the first 16 and the first 32 candidates of the first step, ordered by the re-ranker) and
combined: a weighted sum of its score with what the first step knows (dot product, likeness of names, exactness, rank),
whose weights maximise the likelihood of the gold entity on dev. Where a set has test texts, dev chooses the epoch;
where it has none, the last epoch is taken, and dev is cut in two halves, each measured with the weights fitted on the
other. Mentions whose entity the knowledge base lacks are left out.

Needs ``pip install sentence-transformers datasets``.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import RESULTS, write_results
from two_stage import write_base

from modelscope_plugin.config.configuration import default_configuration
from modelscope_plugin.config.reranking_settings import RerankingSettings
from modelscope_plugin.data import Entity, Mention, entity_text, mark_mention, read_entities, read_mentions
from modelscope_plugin.data.golds import merge_golds
from modelscope_plugin.encoding import EntityEncoder
from modelscope_plugin.encoding.cross_encoder import CrossEncoder
from modelscope_plugin.retrieval import EntityIndex, Retriever
from modelscope_plugin.retrieval.building import build_index
from modelscope_plugin.retrieval.retriever import Ranking
from modelscope_plugin.training.reranking.candidate_lists import CandidateLists
from modelscope_plugin.training.reranking.scorers import load_scorer

KS = (1, 4, 16)
TOP_KS = (16, 32)
DEPTH = 64
MAX_LENGTH = 64
# Files with the texts; those of sets without dev texts of their own are split by text.
SPLIT = {"ccks2019-sample": "train.jsonl", "oi-wiki": "mentions.jsonl"}
DUAL_ENCODER = {
    "chip-cdn": "--batch-size 128 --stages 3 --epochs 10 --stage-two-epochs 4 --random-negatives 128 "
    "--hard-negatives 4",
    "kgclue": "--batch-size 128 --stages 2 --epochs 1 --stage-two-epochs 1 --stage-two-learning-rate 5e-4 "
    "--random-negatives 128 --hard-negatives 4",
    "ccks2019-sample": "--batch-size 64 --random-negatives 32 --kb-mentions 2 --skip-unknown --epochs 15",
    "oi-wiki": "--batch-size 64 --random-negatives 32 --kb-mentions 2 --skip-unknown --epochs 20",
}
RERANKERS = {
    "late-interaction": "--epochs 3 --list-size 16 --learning-rate 5e-4",
    "cross-encoder": "--epochs 2 --list-size 16 --learning-rate 5e-4",
}


@dataclass
class Part:
    """Mentions with what the first step found for them: dev or test."""

    mentions: list[Mention]
    golds: list[set[str]]
    rankings: list[Ranking]
    ids: list[list[str]]

    def take(self, positions: Sequence[int]) -> Part:
        """Some of the mentions."""
        columns = (self.mentions, self.golds, self.rankings, self.ids)
        return Part(*([column[one] for one in positions] for column in columns))  # type: ignore[arg-type]

    def is_gold(self, position: int, top_k: int) -> np.ndarray:
        """Whether each of the first candidates of a mention is right."""
        return np.isin(self.ids[position][:top_k], sorted(self.golds[position]))


def write_splits(name: str, source: Path, folder: Path) -> None:
    """Write kb.jsonl, train.jsonl, dev.jsonl and, where the data has one part only, test.jsonl."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in ("kb", *(() if name in SPLIT else ("train", "dev"))):
        (folder / f"{file}.jsonl").write_text((source / f"{file}.jsonl").read_text(encoding="utf-8"), encoding="utf-8")
    if name not in SPLIT:
        return
    lines = [line for line in (source / SPLIT[name]).read_text(encoding="utf-8").splitlines(True) if line.strip()]
    texts = sorted({json.loads(line)["text"] for line in lines})
    random.Random(1).shuffle(texts)
    place = {text: (number >= 0.6 * len(texts)) + (number >= 0.8 * len(texts)) for number, text in enumerate(texts)}
    for number, file in enumerate(("train", "dev", "test")):
        kept = [line for line in lines if place[json.loads(line)["text"]] == number]
        (folder / f"{file}.jsonl").write_text("".join(kept), encoding="utf-8")


def run(*arguments: Any) -> float:
    """Run a sub-command; its processor seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-m", "modelscope_plugin", *map(str, arguments)], check=True, stdout=subprocess.DEVNULL
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def read_part(file: Path, encoder: EntityEncoder, index: EntityIndex) -> Part:
    """Read the mentions of a file and rank candidates for them, as the linker does."""
    known = set(index.ids)
    merged = merge_golds(read_mentions(file))
    mentions = list(dict.fromkeys(one for one in merged if not known.isdisjoint(one.entity_ids)))
    retriever = Retriever(index, "hybrid", exact=True)
    rankings = list(retriever.rank(*retriever.encode_mentions(encoder, mentions), DEPTH))
    ids = [[index.ids[row] for row in ranking.rows.tolist()] for ranking in rankings]
    return Part(mentions, [set(one.entity_ids) for one in mentions], rankings, ids)


def features(part: Part, scores: list[np.ndarray] | None, top_k: int) -> list[np.ndarray]:
    """What is known of the first candidates of each mention, (candidates, features)."""
    found = []
    for position, ranking in enumerate(part.rankings):
        columns = [ranking.dense, ranking.names, ranking.learned, ranking.is_exact, ranking.is_verbatim]
        columns.append(1 / np.arange(1, len(ranking.rows) + 1))
        columns = [column[:top_k] for column in columns]
        if scores is not None:
            columns.append(scores[position][:top_k])
        found.append(np.stack(columns, axis=1).astype(np.float64))
    return found


def fit_weights(tables: list[np.ndarray], golds: list[np.ndarray]) -> np.ndarray:
    """Weights of a sum of features under which the gold entities are most likely, with a small ridge."""
    used = [position for position, one in enumerate(golds) if one.any()]
    longest = max(len(tables[position]) for position in used)
    table = torch.zeros(len(used), longest, tables[0].shape[1], dtype=torch.float64)
    is_there, is_gold = torch.zeros(2, len(used), longest, dtype=torch.bool)
    for row, position in enumerate(used):
        size = len(tables[position])
        table[row, :size], is_there[row, :size] = torch.from_numpy(tables[position]), True
        is_gold[row, :size] = torch.from_numpy(golds[position])
    weights = torch.zeros(table.shape[2], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        scores = (table @ weights).masked_fill(~is_there, -torch.inf)
        right = scores.masked_fill(~is_gold, -torch.inf)
        value = (scores.logsumexp(1) - right.logsumexp(1)).mean() + 1e-3 * (weights**2).sum()
        value.backward()
        return value

    optimizer.step(loss)
    return weights.detach().numpy()


def find_hits(part: Part, orders: list[np.ndarray], top_k: int) -> np.ndarray:
    """The rank of the first gold entity of each mention after the first candidates were ordered by scores."""
    hits = []
    for ids, golds, scores in zip(part.ids, part.golds, orders, strict=True):
        first = np.lexsort((np.arange(len(scores[:top_k])), -scores[:top_k]))
        order = [ids[one] for one in first] + ids[len(first) :]
        hits.append(next((rank for rank, one in enumerate(order, 1) if one in golds), DEPTH + 1))
    return np.array(hits)


def combine(fitted: Part, part: Part, scores: tuple[Any, Any], top_k: int) -> list[np.ndarray]:
    """Combined scores of one part with weights fitted on another."""
    known, own = features(fitted, scores[0], top_k), features(part, scores[1], top_k)
    stacked = np.concatenate(known)
    mean, scale = stacked.mean(0), stacked.std(0) + 1e-6
    weights = fit_weights(
        [(one - mean) / scale for one in known], [fitted.is_gold(one, top_k) for one in range(len(known))]
    )
    return [(one - mean) / scale @ weights for one in own]


class Measurement:
    """Recall of orders on the test mentions, or on dev in two halves."""

    def __init__(self, dev: Part, test: Part | None, seen: set[str]) -> None:
        self.dev, self.test, self._seen = dev, test, seen
        if test is None:
            order = np.random.default_rng(0).permutation(len(dev.mentions)).tolist()
            first, second = sorted(order[::2]), sorted(order[1::2])
            self._pairs = [(first, second), (second, first)]

    def combined(self, scores: dict[str, list[np.ndarray]] | None, top_k: int) -> dict[str, Any]:
        """Recall of the fitted combination; without scores, of the first step alone."""
        if self.test is not None:
            pair = (None, None) if scores is None else (scores["dev"], scores["test"])
            return self._report(self.test, find_hits(self.test, combine(self.dev, self.test, pair, top_k), top_k))
        hits = np.zeros(len(self.dev.mentions), dtype=np.int64)
        for fitted, measured in self._pairs:
            pair = (None, None)
            if scores is not None:
                pair = ([scores["dev"][one] for one in fitted], [scores["dev"][one] for one in measured])
            part = self.dev.take(measured)
            hits[measured] = find_hits(part, combine(self.dev.take(fitted), part, pair, top_k), top_k)
        return self._report(self.dev, hits)

    def alone(self, scores: dict[str, list[np.ndarray]] | None, top_k: int = DEPTH) -> dict[str, Any]:
        """Recall of the order by these scores; without them, of the order of the first step."""
        name, part = ("dev", self.dev) if self.test is None else ("test", self.test)
        orders = [-np.arange(len(one)) for one in part.ids] if scores is None else scores[name]
        return self._report(part, find_hits(part, orders, top_k))

    def _report(self, part: Part, hits: np.ndarray) -> dict[str, Any]:
        is_seen = np.array([not self._seen.isdisjoint(one) for one in part.golds])
        groups = {
            "all": np.full(len(hits), True),
            "single_gold": np.array([len(one) == 1 for one in part.golds]),
            "seen": is_seen,
            "unseen": ~is_seen,
        }
        return {
            name: {"mentions": int(mask.sum())} | {f"recall@{k}": round(float((hits[mask] <= k).mean()), 4) for k in KS}
            for name, mask in groups.items()
            if mask.any()
        }


def score_parts(parts: dict[str, Part], score: Any, entities: dict[str, Entity]) -> dict[str, list[np.ndarray]]:
    """Scores of the first candidates of all mentions by a function of mentions and their lists of entities."""
    return {
        name: score(part.mentions, [[entities[one] for one in ids[: max(TOP_KS)]] for ids in part.ids])
        for name, part in parts.items()
    }


def score_with_cross_encoder(predict: Any) -> Any:
    """Score lists with a function of pairs."""

    def score(mentions: list[Mention], lists: list[list[Entity]]) -> list[np.ndarray]:
        pairs = [(mention, one) for mention, entities in zip(mentions, lists, strict=True) for one in entities]
        ends = np.cumsum([len(one) for one in lists])[:-1]
        return list(np.split(np.asarray(predict(pairs)), ends))

    return score


def score_with_late_interaction(folder: Path) -> Any:
    """Score lists with a folder of late interaction."""
    settings = RerankingSettings.from_configuration(default_configuration(), type="late-interaction")
    scorer = load_scorer(folder, settings, torch.device("cpu"))
    scorer.model.eval()

    @torch.inference_mode()
    def score(mentions: list[Mention], lists: list[list[Entity]]) -> list[np.ndarray]:
        found = []
        for start in range(0, len(mentions), 16):
            texts = [list(map(entity_text, one)) for one in lists[start : start + 16]]
            columns = {text: column for column, text in enumerate(dict.fromkeys(text for one in texts for text in one))}
            rows = [[columns[text] for text in one] for one in texts]
            scores = scorer.score(mentions[start : start + 16], list(columns), rows).numpy()
            found += [row[: len(one)] for row, one in zip(scores, texts, strict=True)]
        return found

    return score


def train_theirs(
    base: Path, lists: CandidateLists, seed: int, seconds: float, work: Path
) -> tuple[Any, dict[str, Any]]:
    """Train sentence-transformers' CrossEncoder on pairs of the same lists for so many processor seconds."""
    from datasets import Dataset
    from sentence_transformers.cross_encoder import (
        CrossEncoder as Theirs,
    )
    from sentence_transformers.cross_encoder import (
        CrossEncoderTrainer,
        CrossEncoderTrainingArguments,
    )
    from sentence_transformers.cross_encoder.losses import BinaryCrossEntropyLoss
    from transformers import TrainerCallback

    torch.manual_seed(seed)
    model = Theirs(str(base), num_labels=1, max_length=2 * MAX_LENGTH, device="cpu")
    rows = [
        {"mention": mark_mention(mention), "entity": batch.texts[one], "label": float(number == 0)}
        for epoch in range(2)
        for batch in lists.epoch(epoch)
        for mention, chosen in zip(batch.mentions, batch.lists, strict=True)
        for number, one in enumerate(chosen)
    ]
    started = time.process_time()

    class Stop(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            control.should_training_stop = time.process_time() - started >= seconds

    arguments = CrossEncoderTrainingArguments(
        output_dir=str(work / "theirs"), num_train_epochs=1, per_device_train_batch_size=64, learning_rate=5e-4,
        warmup_ratio=0.1, seed=seed, use_cpu=True, save_strategy="no", report_to=[], disable_tqdm=True,
    )  # fmt: skip
    trainer = CrossEncoderTrainer(
        model=model, args=arguments, train_dataset=Dataset.from_list(rows), loss=BinaryCrossEntropyLoss(model),
        callbacks=[Stop()],
    )  # fmt: skip
    trainer.train()
    figures = {
        "seconds": round(time.process_time() - started, 1),
        "pairs": len(rows),
        "steps": trainer.state.global_step,
    }

    def predict(pairs: list[tuple[Mention, Entity]]) -> Any:
        texts = [(mark_mention(mention), entity_text(entity)) for mention, entity in pairs]
        return model.predict(texts, batch_size=64, activation_fn=torch.nn.Identity(), show_progress_bar=False)

    return predict, figures


def measure_set(name: str, args: argparse.Namespace, seed: int, work: Path) -> dict[str, Any]:
    """All figures of one set and one seed."""
    folder = work / name
    write_splits(name, Path(args.data) / name, folder)
    model = Path(args.models) / name / "model" if args.models else folder / "model"
    common = ["--seed", seed, "--device", "cpu"]
    files = ["--kb", folder / "kb.jsonl", "--train", folder / "train.jsonl"]
    if not args.models:
        vocabulary = (Path(args.data) / "bert-chinese-vocab.txt").read_text(encoding="utf-8").split("\n")[:21128]
        write_base(folder / "base", vocabulary, seed)
        run(
            "train", "--model", folder / "base", *files, "--out", model, "--temperature", 0.05, "--normalize",
            "--pooling", "avg", "--max-length", MAX_LENGTH, "--learning-rate", 1e-3, *common,
            *DUAL_ENCODER[name].split(),
        )  # fmt: skip
    encoder = EntityEncoder.from_pretrained(model, device="cpu")
    entities = list(read_entities(folder / "kb.jsonl"))
    index = build_index(encoder, entities, show_progress_bar=False)
    parts = {part: read_part(folder / f"{part}.jsonl", encoder, index) for part in ("dev", "test")
             if (folder / f"{part}.jsonl").exists()}  # fmt: skip
    train = read_part(folder / "train.jsonl", encoder, index)
    seen = {one for golds in train.golds for one in golds}
    by_id = {entity.id: entity for entity in entities}
    texts = {entity.id: entity_text(entity) for entity in entities}
    measurement = Measurement(parts["dev"], parts.get("test"), seen)
    figures: dict[str, Any] = {
        "first_step": {"hybrid": measurement.alone(None), "fitted": measurement.combined(None, max(TOP_KS))}
    }
    print(name, seed, json.dumps(figures), flush=True)

    def report(kind: str, score: Any, **more: Any) -> None:
        started = time.process_time()
        scores = score_parts(parts, score, by_id)
        pairs = sum(len(ids[: max(TOP_KS)]) for part in parts.values() for ids in part.ids)
        figures[kind] = more | {
            "milliseconds_per_32_pairs": round(32e3 * (time.process_time() - started) / pairs, 1),
            "alone": {str(top_k): measurement.alone(scores, top_k) for top_k in TOP_KS},
            "combined": measurement.combined(scores, max(TOP_KS)),
        }
        print(name, seed, kind, json.dumps(figures[kind]), flush=True)

    dev = ["--dev", folder / "dev.jsonl"] if "test" in parts else []
    for kind in args.kinds:
        out = folder / kind
        options = RERANKERS[kind].split()
        seconds = run(
            "train-reranker", "--model", model, *files, *dev, "--out", out, "--type", kind, "--skip-unknown", *common,
            "--rerank-top-k", min(TOP_KS), *options,
        )  # fmt: skip
        record = json.loads((out / "training.json").read_text(encoding="utf-8"))
        if kind == "late-interaction":
            score = score_with_late_interaction(out)
        else:
            score = score_with_cross_encoder(CrossEncoder.from_pretrained(out, device="cpu").predict)
        stage = record["stages"][0]
        report(
            kind, score, options=RERANKERS[kind], seconds=round(seconds, 1), losses=stage["losses"],
            best_step=stage["best_step"], steps=stage["steps"],
        )  # fmt: skip
    if args.theirs:
        size = int(RERANKERS["cross-encoder"].split()[3])
        lists = CandidateLists(
            train.mentions, train.ids, texts, batch_size=16, list_size=size, range_max=DEPTH, seed=seed
        )
        budget = figures.get("cross-encoder", {}).get("seconds", 120.0)
        predict, trained = train_theirs(model, lists, seed, budget, folder)
        report("sentence-transformers", score_with_cross_encoder(predict), **trained)
    return figures


def main() -> None:
    """Measure the sets one after the other; what was measured of others before stays in the results."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", default="../shared/data", help="folder of the data sets (default: %(default)s)")
    parser.add_argument("--sets", nargs="+", choices=DUAL_ENCODER, default=list(DUAL_ENCODER))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--models", help="folder with SET/model, dual encoders made before with --seeds of one seed")
    parser.add_argument("--kinds", nargs="*", choices=RERANKERS, default=list(RERANKERS))
    parser.add_argument("--theirs", action=argparse.BooleanOptionalAction, default=True,
                        help="whether to train sentence-transformers' CrossEncoder too")  # fmt: skip
    args = parser.parse_args()
    if args.models and len(args.seeds) > 1:
        parser.error("--models holds the models of one seed; give --seeds one")
    path = RESULTS / "reranking.json"
    results = json.loads(path.read_text(encoding="utf-8"))["sets"] if path.exists() else {}
    for name in args.sets:
        if not (Path(args.data) / name).is_dir():
            print(f"skipped {name}: there is no {Path(args.data) / name}")
            continue
        for seed in args.seeds:
            with tempfile.TemporaryDirectory() as work:
                figures = measure_set(name, args, seed, Path(work))
            known = results.setdefault(name, {}).setdefault(str(seed), {})
            known.update(figures)
            write_results("reranking", {"sets": results})


if __name__ == "__main__":
    main()
