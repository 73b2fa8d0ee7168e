"""Re-ranking measured: the first step's order, late interaction, a cross encoder, and sentence-transformers' one.

For each data set the dual encoder of the first step is a BERT of 2 layers x 128 from random weights, trained by
``modelscope entity train``, or one that was made before (``--models DIR``, with ``DIR/SET/model``). The re-rankers
start from it and are trained by ``modelscope entity train-reranker``. sentence-transformers' ``CrossEncoder`` starts
from it too and is trained for the same processor seconds on pairs of the same lists, with its default loss.

The first step is hybrid retrieval as it comes, and with the fusion that ``fit_fusion`` fits on dev. Each re-ranker
orders the first 32 candidates of hybrid retrieval as it comes: alone, and combined with what the first step knows, with
the weights that ``fit_reranking`` fits on dev. Where a set has test texts, dev also chooses the epoch and test is
measured. Where it has none, the last epoch is taken, and each half of dev is measured with what was fitted on the
other. Mentions whose entity the knowledge base lacks are left out. Seconds are those of the processor, reading and
indexing included.

What is trained stays in ``--work DIR``, where one is given, and is not trained again.

Needs ``pip install sentence-transformers datasets accelerate``.
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
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import RESULTS, write_results
from two_stage import write_base

from modelscope_plugin.data import Entity, Mention, entity_text, mark_mention, read_entities, read_mentions
from modelscope_plugin.data.golds import merge_golds
from modelscope_plugin.encoding import EntityEncoder
from modelscope_plugin.evaluation.evaluate import Evaluation, evaluate
from modelscope_plugin.evaluation.fitting.fit_fusion import fit_fusion
from modelscope_plugin.evaluation.fitting.fit_reranking import fit_reranking
from modelscope_plugin.linking.reranking.loading import load_reranker
from modelscope_plugin.linking.reranking.protocol import Reranker
from modelscope_plugin.linking.reranking.second_step import SecondStep
from modelscope_plugin.retrieval import EntityIndex
from modelscope_plugin.retrieval.building import build_index
from modelscope_plugin.retrieval.fitted import Fitted, RerankingWeights
from modelscope_plugin.training.reranking.candidate_lists import CandidateLists
from modelscope_plugin.training.reranking.first_step import RETRIEVAL, rank_candidates

KS = (1, 4, 16)
RANGE = 64
MAX_LENGTH = 64
# Files with the texts of the sets that have one part only; they are split by text.
SPLIT = {"ccks2019-sample": "train.jsonl", "oi-wiki": "mentions.jsonl"}
DUAL_ENCODER = {
    "chip-cdn": "--batch-size 128 --stages 3 --epochs 10 --stage-two-epochs 4 --random-negatives 128 "
    "--hard-negatives 4",
    "kgclue": "--batch-size 128 --stages 2 --epochs 1 --stage-two-epochs 1 --stage-two-learning-rate 5e-4 "
    "--random-negatives 128 --hard-negatives 4",
    "ccks2019-sample": "--batch-size 64 --random-negatives 32 --kb-mentions 2 --skip-unknown --epochs 15",
    "oi-wiki": "--batch-size 64 --random-negatives 32 --kb-mentions 2 --skip-unknown --epochs 20",
}
LIST_SIZE = 16
EPOCHS = {"late-interaction": 3, "cross-encoder": 2}
LEARNING_RATE = 5e-4


def write_splits(name: str, source: Path, folder: Path) -> None:
    """Write kb.jsonl, train.jsonl, dev.jsonl and, where the data has one part only, test.jsonl."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in ("kb", *(() if name in SPLIT else ("train", "dev"))):
        (folder / f"{file}.jsonl").write_text((source / f"{file}.jsonl").read_text(encoding="utf-8"), encoding="utf-8")
    if name not in SPLIT:
        return
    with (source / SPLIT[name]).open(encoding="utf-8") as stream:
        lines = [line for line in stream if line.strip()]
    texts = sorted({json.loads(line)["text"] for line in lines})
    random.Random(1).shuffle(texts)
    place = {text: (number >= 0.6 * len(texts)) + (number >= 0.8 * len(texts)) for number, text in enumerate(texts)}
    for number, file in enumerate(("train", "dev", "test")):
        kept = [line for line in lines if place[json.loads(line)["text"]] == number]
        (folder / f"{file}.jsonl").write_text("".join(kept), encoding="utf-8")


def run(folder: Path, *arguments: Any) -> float:
    """Train what ``folder`` lacks with a sub-command; the processor seconds that it took."""
    times = folder.with_name(f"{folder.name}.seconds")
    if not folder.exists():
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [sys.executable, "-m", "modelscope_plugin", *map(str, arguments), "--out", str(folder)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.write_text(str(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime))
    return round(float(times.read_text()), 1)


class ScoreCache:
    """Keeps the scores of a re-ranker, so that it reads each pair once however often it is measured.

    Attributes:
        seconds: Processor seconds of reading.
        pairs: How many pairs were read.
    """

    def __init__(self, reranker: Reranker) -> None:
        self._reranker = reranker
        self._scores: dict[tuple[Any, str], float] = {}
        self.name, self.fingerprint = reranker.name, reranker.fingerprint
        self.seconds, self.pairs = 0.0, 0

    def score(
        self, mentions: Sequence[str | Mention], entities: Sequence[Sequence[Entity]], **options: Any
    ) -> list[Any]:
        """Score the candidates of mentions."""
        missing = [
            [entity for entity in own if (mention, entity.id) not in self._scores]
            for mention, own in zip(mentions, entities, strict=True)
        ]
        started = time.process_time()
        new = self._reranker.score(mentions, missing, **options)
        self.seconds += time.process_time() - started
        self.pairs += sum(map(len, missing))
        for mention, own, scores in zip(mentions, missing, new, strict=True):
            self._scores |= {(mention, entity.id): score for entity, score in zip(own, scores.tolist(), strict=True)}
        return [
            np.array([self._scores[mention, entity.id] for entity in own], dtype=np.float32)
            for mention, own in zip(mentions, entities, strict=True)
        ]


class Theirs:
    """sentence-transformers' CrossEncoder as a re-ranker."""

    name = fingerprint = "sentence-transformers"

    def __init__(self, model: Any) -> None:
        self._model = model

    def score(self, mentions: Sequence[str | Mention], entities: Sequence[Sequence[Entity]], **_: Any) -> list[Any]:
        """Score the candidates of mentions."""
        texts = [mark_mention(mention) for mention in mentions if isinstance(mention, Mention)]
        pairs = [(text, entity_text(one)) for text, own in zip(texts, entities, strict=True) for one in own]
        options = {"batch_size": 64, "activation_fn": torch.nn.Identity(), "show_progress_bar": False}
        scores = np.asarray(self._model.predict(pairs, **options) if pairs else [], dtype=np.float32)
        return np.split(scores, np.cumsum([len(own) for own in entities])[:-1])


def train_theirs(base: Path, lists: CandidateLists, seed: int, seconds: float, work: Path) -> dict[str, Any]:
    """Train sentence-transformers' CrossEncoder on pairs of the same lists for so many processor seconds."""
    from datasets import Dataset
    from sentence_transformers.cross_encoder import (
        CrossEncoder,
        CrossEncoderTrainer,
        CrossEncoderTrainingArguments,
    )
    from sentence_transformers.cross_encoder.losses import BinaryCrossEntropyLoss
    from transformers import TrainerCallback

    torch.manual_seed(seed)
    model = CrossEncoder(str(base), num_labels=1, max_length=2 * MAX_LENGTH, device="cpu")
    rows = [
        {"mention": mark_mention(mention), "entity": batch.texts[one], "label": float(number == 0)}
        for epoch in range(EPOCHS["cross-encoder"])
        for batch in lists.epoch(epoch)
        for mention, chosen in zip(batch.mentions, batch.lists, strict=True)
        for number, one in enumerate(chosen)
    ]
    started = time.process_time()

    class Stop(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            control.should_training_stop = time.process_time() - started >= seconds

    arguments = CrossEncoderTrainingArguments(
        output_dir=str(work / "theirs"), num_train_epochs=1, per_device_train_batch_size=64,
        learning_rate=LEARNING_RATE, warmup_ratio=0.1, seed=seed, use_cpu=True, save_strategy="no", report_to=[],
        disable_tqdm=True,
    )  # fmt: skip
    trainer = CrossEncoderTrainer(
        model=model, args=arguments, train_dataset=Dataset.from_list(rows), loss=BinaryCrossEntropyLoss(model),
        callbacks=[Stop()],
    )  # fmt: skip
    trainer.train()
    spent = round(time.process_time() - started, 1)
    return {"model": model, "seconds": spent, "pairs": len(rows), "steps": trainer.state.global_step}


class Measurement:
    """Recall of what was fitted on dev: on test, or on the halves of dev in turn."""

    def __init__(self, encoder: EntityEncoder, index: EntityIndex, parts: dict[str, list[Mention]]) -> None:
        self._encoder, self._index = encoder, index
        self._seen = {one for mention in parts["train"] for one in mention.entity_ids}
        dev = parts["dev"]
        self._pairs = [(dev, parts["test"])] if "test" in parts else [(dev[::2], dev[1::2]), (dev[1::2], dev[::2])]

    def measure(
        self, fit: Callable[[list[Mention]], Any], reranker: Reranker | None = None
    ) -> dict[str, dict[str, float]]:
        """Recall by group; ``fit`` fits on the mentions it is given."""
        found = []
        for fitted, measured in self._pairs:
            self._index.fitted = Fitted()
            fit(fitted)
            found.append(
                evaluate(
                    self._encoder, self._index, measured, ks=KS, seen=self._seen, retrieval=RETRIEVAL,
                    reranker=reranker, show_progress_bar=False,
                )
            )  # fmt: skip
        return pool(found)

    def first_step(self) -> dict[str, Any]:
        """The order of hybrid retrieval, as it comes and fitted."""
        return {
            "hybrid": self.measure(lambda _: None),
            "fitted": self.measure(
                lambda mentions: fit_fusion(self._encoder, self._index, mentions, show_progress_bar=False)
            ),
        }

    def second_step(self, reranker: Reranker) -> dict[str, Any]:
        """The order of a re-ranker alone, and combined with what the first step knows."""
        cache = ScoreCache(reranker)
        alone = RerankingWeights(RETRIEVAL, cache.fingerprint, rerank=1.0)
        weights = []

        def use_alone(_: list[Mention]) -> None:
            self._index.fitted = self._index.fitted.with_reranking(alone)

        def combine(mentions: list[Mention]) -> None:
            step = SecondStep(cache, self._index, RETRIEVAL)
            found = fit_reranking(self._encoder, self._index, step, mentions, show_progress_bar=False)
            weights.append({name: round(value, 3) for name, value in vars(found).items() if isinstance(value, float)})

        return {
            "alone": self.measure(use_alone, cache),
            "combined": self.measure(combine, cache),
            "weights": weights,
            "milliseconds_of_32_pairs": round(32e3 * cache.seconds / cache.pairs, 1),
        }


def pool(evaluations: list[Evaluation]) -> dict[str, dict[str, float]]:
    """The recall of several evaluations together, by group."""
    found: dict[str, dict[str, float]] = {}
    for name in ("all", "single_gold", "seen", "unseen"):
        pairs = [
            (one.mentions, one.recall) if name == "all" else (one.groups[name].mentions, one.groups[name].recall)
            for one in evaluations
            if name == "all" or name in one.groups
        ]
        if total := sum(count for count, _ in pairs):
            recall = {f"recall@{k}": round(sum(count * own[k] for count, own in pairs) / total, 4) for k in KS}
            found[name] = {"mentions": total, **recall}
    return found


def measure_set(name: str, args: argparse.Namespace, seed: int, folder: Path) -> None:
    """Measure one set with one seed, and write each figure as soon as it is there."""
    write_splits(name, Path(args.data) / name, folder)
    model = Path(args.models) / name / "model" if args.models else folder / "model"
    common = ["--kb", folder / "kb.jsonl", "--train", folder / "train.jsonl", "--seed", seed, "--device", "cpu"]
    if not args.models:
        vocabulary = (Path(args.data) / "bert-chinese-vocab.txt").read_text(encoding="utf-8").split("\n")[:21128]
        write_base(folder / "base", vocabulary, seed)
        run(
            model, "train", "--model", folder / "base", *common, "--temperature", 0.05, "--normalize", "--pooling",
            "avg", "--max-length", MAX_LENGTH, "--learning-rate", 1e-3, *DUAL_ENCODER[name].split(),
        )  # fmt: skip
    encoder = EntityEncoder.from_pretrained(model, device="cpu")
    entities = list(read_entities(folder / "kb.jsonl"))
    index = build_index(encoder, entities, show_progress_bar=False)
    parts = {
        part: [
            one for one in dict.fromkeys(merge_golds(read_mentions(file))) if any(g in index for g in one.entity_ids)
        ]
        for part in ("train", "dev", "test")
        if (file := folder / f"{part}.jsonl").exists()
    }
    measurement = Measurement(encoder, index, parts)
    path = RESULTS / "reranking.json"
    figures: dict[str, Any] = {}

    def note(kind: str, found: dict[str, Any]) -> None:
        figures[kind] = found
        results = json.loads(path.read_text(encoding="utf-8"))["sets"] if path.exists() else {}
        results.setdefault(name, {}).setdefault(str(seed), {}).update(figures)
        write_results("reranking", {"sets": results})

    note("first_step", measurement.first_step())
    dev = ["--dev", folder / "dev.jsonl"] if "test" in parts else []
    for kind in args.kinds:
        out = folder / kind
        seconds = run(
            out, "train-reranker", "--model", model, *common, *dev, "--type", kind, "--skip-unknown", "--list-size",
            LIST_SIZE, "--range-max", RANGE, "--epochs", EPOCHS[kind], "--learning-rate", LEARNING_RATE,
            "--rerank-top-k", 16,
        )  # fmt: skip
        stage = json.loads((out / "training.json").read_text(encoding="utf-8"))["stages"][0]
        trained = {"seconds": seconds} | {key: stage[key] for key in ("steps", "best_step", "losses")}
        note(kind, trained | measurement.second_step(load_reranker(out, device="cpu")))
    if args.theirs:
        texts = {entity.id: entity_text(entity) for entity in entities}
        index.fitted = Fitted()
        candidates = rank_candidates(encoder, index, parts["train"], RANGE, show_progress_bar=False)
        lists = CandidateLists(
            parts["train"], candidates, texts, batch_size=16, list_size=LIST_SIZE, range_max=RANGE, seed=seed
        )
        trained = train_theirs(model, lists, seed, args.their_seconds or figures["cross-encoder"]["seconds"], folder)
        reranker = Theirs(trained.pop("model"))
        note("sentence-transformers", trained | measurement.second_step(reranker))


def main() -> None:
    """Measure the sets one after the other; what was measured of others before stays in the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", default="../shared/data", help="folder of the data sets (default: %(default)s)")
    parser.add_argument("--sets", nargs="+", choices=DUAL_ENCODER, default=list(DUAL_ENCODER))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--models", help="folder with SET/model, dual encoders that were made before with one seed")
    parser.add_argument("--kinds", nargs="*", choices=EPOCHS, default=list(EPOCHS))
    parser.add_argument("--theirs", action=argparse.BooleanOptionalAction, default=True,
        help="whether to train sentence-transformers' CrossEncoder too")  # fmt: skip
    parser.add_argument("--their-seconds", type=float, help="for how long; by default as long as our cross encoder")
    parser.add_argument("--work", help="folder that keeps what is trained")
    args = parser.parse_args()
    if args.models and len(args.seeds) > 1:
        parser.error("--models holds the models of one seed; give --seeds one")
    if args.theirs and "cross-encoder" not in args.kinds and not args.their_seconds:
        parser.error("give --their-seconds, --no-theirs, or cross-encoder among --kinds")
    for name in args.sets:
        if not (Path(args.data) / name).is_dir():
            print(f"skipped {name}: there is no {Path(args.data) / name}")
            continue
        for seed in args.seeds:
            with tempfile.TemporaryDirectory() as temporary:
                measure_set(name, args, seed, Path(args.work or temporary) / name / str(seed))


if __name__ == "__main__":
    main()
