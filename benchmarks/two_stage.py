"""Two-stage training side by side with sentence-transformers: recall reached and seconds spent.

Both start from the same random BERT of 2 layers x 128 (one for each seed), with the same tokenizer and the same texts,
and end with Recall@k over the whole knowledge base, measured by the same code. Steps and batches are each trainer's
own choice: sentence-transformers trains with MultipleNegativesRankingLoss, mines with ``mine_hard_negatives`` and
trains on with as many hard negatives for each pair; this package runs ``modelscope entity train``.

Needs ``pip install sentence-transformers datasets``.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from common import RESULTS, data_folder, write_results

from modelscope_plugin.data import entity_text, mark_mention, read_entities, read_mentions
from modelscope_plugin.encoding import EntityEncoder
from modelscope_plugin.evaluation.evaluate import evaluate, score_rankings
from modelscope_plugin.modeling.model_folder import write_model_folder
from modelscope_plugin.modeling.random_model import write_random_bert
from modelscope_plugin.modeling.tokenization import declare_markers
from modelscope_plugin.retrieval import EntityIndex, KnowledgeBase, Retriever

KS = (1, 4, 16, 64, 128)
MAX_LENGTH = 64
BATCH = 128
HARD_NEGATIVES = 4

THEIRS = {
    "chip-cdn": {"epochs": 5, "learning_rate": 5e-4, "stage_two_epochs": 3, "stage_two_learning_rate": 3e-4},
    "kgclue": {"epochs": 1, "learning_rate": 5e-4, "stage_two_epochs": 1, "stage_two_learning_rate": 3e-4},
}
OURS: dict[str, dict[str, Any]] = {
    "chip-cdn": {
        "--stages": 3,
        "--epochs": 10,
        "--stage-two-epochs": 4,
        "--learning-rate": 1e-3,
        "--random-negatives": 128,
        "--hard-negatives": HARD_NEGATIVES,
    },
    "kgclue": {
        "--stages": 2,
        "--epochs": 1,
        "--stage-two-epochs": 1,
        "--learning-rate": 1e-3,
        "--stage-two-learning-rate": 5e-4,
        "--random-negatives": 128,
        "--hard-negatives": HARD_NEGATIVES,
    },
}


def write_base(folder: Path, vocabulary: list[str], seed: int) -> None:
    """The model that both start from, with the markers in its vocabulary."""
    write_random_bert(folder, vocabulary=vocabulary, seed=seed)
    encoder = EntityEncoder.from_pretrained(folder, device="cpu", emb_pooler_type="avg", normalize=True)
    declare_markers(encoder.tokenizer.tokenizer)
    encoder.model.resize_token_embeddings(len(encoder.tokenizer.tokenizer))
    encoder.tokenizer.max_length = MAX_LENGTH
    write_model_folder(folder, encoder.model, encoder.tokenizer)


def recall(encode_mentions: Any, encode_entities: Any, folder: Path) -> dict[str, dict[int, float]]:
    """Recall of any two encoders over the whole knowledge base, on all dev mentions and on those with one gold."""
    entities = list(read_entities(folder / "kb.jsonl"))
    vectors = encode_entities(entities)

    class BenchmarkEncoder:
        name = fingerprint = "benchmark"
        dimension, max_length = vectors.shape[1], MAX_LENGTH

        def encode_query(self, mentions: Any, **_: Any) -> Any:
            return encode_mentions(mentions)

        def encode_document(self, entities: Any, **_: Any) -> Any:
            return encode_entities(entities)

    index = EntityIndex(vectors.shape[1], "benchmark")
    index.add(entities, vectors)
    result = evaluate(BenchmarkEncoder(), index, read_mentions(folder / "dev.jsonl"), ks=KS)
    return {"all": result.recall, "single_gold": result.groups["single_gold"].recall}


def theirs(base: Path, folder: Path, work: Path, name: str, seed: int) -> dict[str, Any]:
    """sentence-transformers, in its own way."""
    from datasets import Dataset
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers import models as modules
    from sentence_transformers.losses import MultipleNegativesRankingLoss
    from sentence_transformers.training_args import BatchSamplers
    from sentence_transformers.util import mine_hard_negatives

    choice = THEIRS[name]
    transformer = modules.Transformer(str(base), max_seq_length=MAX_LENGTH)
    pooling = modules.Pooling(transformer.get_word_embedding_dimension(), pooling_mode="mean")
    model = SentenceTransformer(modules=[transformer, pooling], device="cpu")
    texts = {entity.id: entity_text(entity) for entity in read_entities(folder / "kb.jsonl")}
    pairs = [
        {"anchor": mark_mention(mention), "positive": texts[one]}
        for mention in read_mentions(folder / "train.jsonl")
        for one in mention.entity_ids
    ]
    dataset = Dataset.from_list(pairs)

    def stage(data: Dataset, epochs: float, rate: float, at: str) -> float:
        arguments = SentenceTransformerTrainingArguments(
            output_dir=str(work / at),
            num_train_epochs=epochs,
            per_device_train_batch_size=BATCH,
            learning_rate=rate,
            warmup_ratio=0.1,
            batch_sampler=BatchSamplers.NO_DUPLICATES,
            seed=seed,
            use_cpu=True,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
        )
        started = time.monotonic()
        loss = MultipleNegativesRankingLoss(model, scale=20)
        SentenceTransformerTrainer(model=model, args=arguments, train_dataset=data, loss=loss).train()
        return time.monotonic() - started

    def measured() -> dict[str, dict[int, float]]:
        def encode(items: list[str]) -> Any:
            return model.encode(items, batch_size=64, normalize_embeddings=True, show_progress_bar=False)

        return recall(
            lambda mentions: encode([mark_mention(mention) for mention in mentions]),
            lambda entities: encode([texts[entity.id] for entity in entities]),
            folder,
        )

    first = stage(dataset, choice["epochs"], choice["learning_rate"], "one")
    first_recall = measured()
    started = time.monotonic()
    mined = mine_hard_negatives(
        dataset,
        model,
        corpus=list(dict.fromkeys(texts.values())),
        range_min=0,
        range_max=50,
        num_negatives=HARD_NEGATIVES,
        sampling_strategy="random",
        use_faiss=True,
        batch_size=64,
        output_format="n-tuple",
        verbose=False,
    )
    mining = time.monotonic() - started
    second = stage(mined, choice["stage_two_epochs"], choice["stage_two_learning_rate"], "two")
    return {
        "seconds": {
            "stage_one": round(first, 1),
            "mining": round(mining, 1),
            "stage_two": round(second, 1),
            "all": round(first + mining + second, 1),
        },
        "stage_one": first_recall,
        "last": measured(),
    }


def ours(base: Path, folder: Path, work: Path, name: str, seed: int) -> dict[str, Any]:
    """This package, through its command; all of it counts: start, reading, mining, writing, recall of each stage."""
    options = [str(item) for pair in OURS[name].items() for item in pair]
    started = time.monotonic()
    output = subprocess.run(
        [
            sys.executable, "-m", "modelscope_plugin", "train", "--model", base, "--kb", folder / "kb.jsonl",
            "--train", folder / "train.jsonl", "--dev", folder / "dev.jsonl", "--k", *map(str, KS),
            "--out", work / "model", "--batch-size", str(BATCH), "--temperature", "0.05", "--normalize",
            "--pooling", "avg", "--max-length", str(MAX_LENGTH), "--seed", str(seed), "--device", "cpu", "--json",
            *options,
        ],
        stdout=subprocess.PIPE, text=True, check=True,
    ).stdout  # fmt: skip
    seconds = time.monotonic() - started
    stages = json.loads(output)["stages"]

    def measured(stage: dict[str, Any]) -> dict[str, dict[int, float]]:
        figures = stage["evaluation"]
        return {
            "all": {k: figures[f"recall@{k}"] for k in KS},
            "single_gold": {k: figures[f"single_gold_recall@{k}"] for k in KS},
        }

    return {
        "seconds": {"stages": [stage["seconds"] for stage in stages], "all": round(seconds, 1)},
        "stage_one": measured(stages[0]),
        "stage_two": measured(stages[1]),
        "last": measured(stages[-1]),
    }


def name_matching(folder: Path) -> dict[str, dict[int, float]]:
    """What matching names alone finds, on the same mentions."""
    entities = list(read_entities(folder / "kb.jsonl"))
    mentions = [mention for mention in read_mentions(folder / "dev.jsonl") if mention.entity_ids]
    retriever = Retriever(KnowledgeBase(entities), "lexical")
    found = retriever.search(None, [mention.surface for mention in mentions], max(KS))
    rankings = [[candidate.id for candidate in candidates] for candidates in found]
    result = score_rankings(rankings, mentions, [entity.id for entity in entities], KS)
    return {"all": result.recall, "single_gold": result.groups["single_gold"].recall}


def written(name: str, data_set: str, runs: list[dict[str, Any]], names: dict[str, dict[int, float]]) -> None:
    """Write the runs so far with their means."""
    means = {
        f"{who}, {stage}, {part}": {
            k: round(100 * statistics.mean(run[who][stage][part][str(k)] for run in runs), 1) for k in KS
        }
        for who in ("theirs", "ours")
        for stage in ("stage_one", "last")
        for part in ("single_gold", "all")
    }
    means |= {
        f"name matching, {part}": {k: round(100 * value, 1) for k, value in recall.items()}
        for part, recall in names.items()
    }
    write_results(
        name,
        {
            "sentence_transformers": importlib.metadata.version("sentence-transformers"),
            "theirs": THEIRS[data_set],
            "ours": OURS[data_set],
            "mean_recall": means,
            "runs": runs,
        },
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", choices=tuple(OURS), default="chip-cdn", help="data set (default: %(default)s)")
    parser.add_argument("--seeds", type=int, nargs="*", default=[1, 2, 3])
    parser.add_argument("--name", help="name of the results file (default: two_stage_SET)")
    parser.add_argument(
        "--add", nargs="*", default=[], metavar="NAME", help="take over the runs of these results files"
    )
    chosen, _ = parser.parse_known_args()
    args, folder = data_folder(parser, chosen.set)
    vocabulary = (folder.parent / "bert-chinese-vocab.txt").read_text(encoding="utf-8").split("\n")[:21128]
    name = args.name or f"two_stage_{args.set.replace('-', '_')}"
    names = name_matching(folder)
    runs = [run for other in args.add for run in json.loads((RESULTS / f"{other}.json").read_text())["runs"]]
    if runs:
        written(name, args.set, runs, names)
    for seed in args.seeds:
        run: dict[str, Any] = {"seed": seed, "threads": torch.get_num_threads()}
        for trainer in (theirs, ours):
            with tempfile.TemporaryDirectory() as scratch:
                base, work = Path(scratch, "base"), Path(scratch, "work")
                base.mkdir()
                work.mkdir()
                write_base(base, vocabulary, seed)
                run[trainer.__name__] = trainer(base, folder, work, args.set, seed)
        run["seconds_ratio"] = round(run["ours"]["seconds"]["all"] / run["theirs"]["seconds"]["all"], 3)
        runs.append(json.loads(json.dumps(run)))
        # After each seed, so that an interrupted benchmark keeps what it has.
        written(name, args.set, runs, names)


if __name__ == "__main__":
    main()
