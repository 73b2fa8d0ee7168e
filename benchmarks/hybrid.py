"""Names beside vectors: recall of dense, lexical and hybrid retrieval, NIL, and an alias index of a million names.

The models are those of `two_stage.py`, one for each seed, trained here unless ``--models`` has ``SET-SEED/model``. The
weighted sum is fitted on one half of the dev mentions and measured on the other, both ways. NIL is measured on texts of
CCKS 2019: half of them train a model, a quarter fits the rule, a quarter measures it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from common import data_folder, write_results
from two_stage import BATCH, KS, MAX_LENGTH, OURS, write_base

from modelscope_plugin.data import Mention, read_entities, read_mentions
from modelscope_plugin.data.golds import merge_golds
from modelscope_plugin.encoding import EntityEncoder
from modelscope_plugin.evaluation.evaluate import Evaluation, evaluate, score_rankings
from modelscope_plugin.evaluation.fitting.fit_fusion import fit_fusion
from modelscope_plugin.evaluation.fitting.fit_nil import fit_nil
from modelscope_plugin.retrieval import Fitted
from modelscope_plugin.retrieval.building import build_index
from modelscope_plugin.retrieval.lexical import AliasIndex

NIL_SET = "ccks2019-sample"
NIL_TRAINING = {"--epochs": 15, "--learning-rate": 1e-3, "--random-negatives": 128}
NAMES = 1_000_000
QUERIES = 500


def trained(folder: Path, work: Path, train: Path, options: dict[str, Any], seed: int) -> Path:
    """A model of 2 layers x 128 from random weights."""
    vocabulary = (folder.parent / "bert-chinese-vocab.txt").read_text(encoding="utf-8").split("\n")[:21128]
    (work / "base").mkdir(parents=True)
    write_base(work / "base", vocabulary, seed)
    subprocess.run(
        [
            sys.executable, "-m", "modelscope_plugin", "train", "--model", work / "base", "--kb", folder / "kb.jsonl",
            "--train", train, "--out", work / "model", "--batch-size", str(BATCH), "--temperature", "0.05",
            "--normalize", "--pooling", "avg", "--max-length", str(MAX_LENGTH), "--seed", str(seed), "--device", "cpu",
            *(str(item) for pair in options.items() for item in pair),
        ],
        check=True,
    )  # fmt: skip
    return work / "model"


def recall(folder: Path, model: Path) -> dict[str, Any]:
    """Recall of every retrieval, with the names of the knowledge base alone and with those learnt from training."""
    encoder = EntityEncoder.from_pretrained(model, device="cpu", max_length=MAX_LENGTH)
    index = build_index(encoder, read_entities(folder / "kb.jsonl"))
    dev = [mention for mention in merge_golds(read_mentions(folder / "dev.jsonl")) if mention.entity_ids]
    figures: dict[str, Any] = {"dense": _figures(evaluate(encoder, index, dev, ks=KS))}
    for names in ("names", "names and learned names"):
        if names != "names":
            index.lexicon.learn(read_mentions(folder / "train.jsonl"))
        for retrieval in ("lexical", "hybrid"):
            figures[f"{retrieval}, {names}"] = _figures(evaluate(encoder, index, dev, ks=KS, retrieval=retrieval))
        hits: dict[int, int | None] = {}
        for half in (0, 1):
            fusion = fit_fusion(encoder, index, dev[1 - half :: 2])
            found = evaluate(encoder, index, dev[half::2], ks=KS, retrieval="hybrid")
            hits |= dict(zip(range(half, len(dev), 2), found.first_hits, strict=True))
            figures.setdefault("weights", {}).setdefault(names, []).append(asdict(fusion))
        index.fitted = Fitted()
        rankings = [_ranking(hits[place], mention) for place, mention in enumerate(dev)]
        figures[f"fitted hybrid, {names}"] = _figures(score_rankings(rankings, dev, index.ids, KS))
    return figures


def _ranking(hit: int | None, mention: Mention) -> list[str]:
    """A ranking that has its first hit at that rank."""
    return [] if hit is None else [*([""] * (hit - 1)), mention.entity_ids[0]]


def _figures(result: Evaluation) -> dict[str, dict[str, float]]:
    parts = {"all": result.recall, "single_gold": result.groups["single_gold"].recall}
    return {part: {str(k): round(100 * value, 1) for k, value in values.items()} for part, values in parts.items()}


def means(runs: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """The mean over the seeds of every row of figures."""
    rows: defaultdict[str, defaultdict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for run in runs:
        for method, parts in run["recall"].items():
            for part, values in parts.items() if method != "weights" else ():
                for k, value in values.items():
                    rows[f"{method}, {part}"][k].append(value)
    return {row: {k: round(statistics.mean(value), 1) for k, value in values.items()} for row, values in rows.items()}


def nil(folder: Path, models: Path | None, work: Path) -> dict[str, Any]:
    """Figures of NIL for every retrieval."""
    entities = list(read_entities(folder / "kb.jsonl"))
    known = {entity.id for entity in entities}
    # The knowledge base is a slice: most mentions are of entities that it lacks, and NIL here.
    mentions = [
        mention if known & set(mention.entity_ids) else replace(mention, entity_ids=(), nil="NIL")
        for mention in read_mentions(folder / "train.jsonl")
    ]
    texts = sorted({mention.text for mention in mentions})
    random.Random(1).shuffle(texts)
    quarter = {text: 4 * place // len(texts) for place, text in enumerate(texts)}
    train, dev, test = (
        [mention for mention in mentions if quarter[mention.text] in part] for part in ((0, 1), (2,), (3,))
    )
    model = None if models is None else models / f"{NIL_SET}-1" / "model"
    if model is None or not model.is_dir():
        _write_mentions(work / "train.jsonl", train)
        model = trained(folder, work, work / "train.jsonl", NIL_TRAINING, 1)
    encoder = EntityEncoder.from_pretrained(model, device="cpu", max_length=MAX_LENGTH)
    index = build_index(encoder, entities)
    figures = {}
    for retrieval in ("dense", "lexical", "hybrid"):
        fit_nil(encoder, index, dev, retrieval=retrieval)
        result = evaluate(encoder, index, test, ks=KS, retrieval=retrieval)
        assert result.nil is not None
        recalls = {str(k): round(100 * value, 1) for k, value in result.recall.items()}
        figures[retrieval] = {"recall": recalls, "nil": result.nil.to_record()}
    return {"mentions": len(test), "of them NIL": sum(mention.nil is not None for mention in test), **figures}


def _write_mentions(path: Path, mentions: Iterable[Mention]) -> None:
    lines = (
        {"text": one.text, "start": one.start, "end": one.end, "entity_ids": list(one.entity_ids) or [one.nil]}
        for one in mentions
    )
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")


def million(folders: Iterable[Path], path: Path) -> dict[str, Any]:
    """An alias index of a million names, drawn character after character as real ones follow each other."""
    following: defaultdict[str, list[str]] = defaultdict(list)
    for folder in folders:
        for entity in read_entities(folder / "kb.jsonl"):
            for name in entity.names:
                for one, other in zip(["", *name], [*name, ""], strict=True):
                    following[one].append(other)
    drawn = random.Random(0)

    def name() -> str:
        letters: list[str] = []
        while len(letters) < 40 and (letter := drawn.choice(following[letters[-1] if letters else ""])):
            letters.append(letter)
        return "".join(letters)

    names: dict[str, None] = {}
    while len(names) < NAMES:
        names[name()] = None
    started = time.monotonic()
    AliasIndex.build((name, row) for row, name in enumerate(names)).save(path)
    built = time.monotonic() - started
    before, started = _resident(), time.monotonic()
    index = AliasIndex.parse(path.read_bytes(), path, NAMES)
    opened = time.monotonic() - started
    milliseconds = [_search_time(index, query) for query in [name() or "名" for _ in range(QUERIES)]]
    quantiles = statistics.quantiles(milliseconds, n=20)
    return {
        "names": len(index),
        "bytes on disk": path.stat().st_size,
        "bytes in memory": _resident() - before,
        "seconds to build": round(built, 1),
        "seconds to open": round(opened, 2),
        "milliseconds of a query": {
            "mean": round(statistics.mean(milliseconds), 2),
            "median": round(statistics.median(milliseconds), 2),
            "95%": round(quantiles[-1], 2),
        },
        "milliseconds where a million tie": crowds(),
    }


def crowds() -> dict[str, float]:
    """The median time of a query where a million names or entities are alike."""
    many = range(NAMES)
    cases = {
        "entities of one name": (("无名", row) for row in many),
        "names with the one character of the mention": ((f"无{row}", row) for row in many),
        "aliases of one entity": ((f"无{row}", min(row, 1)) for row in many),
    }
    return {
        f"{case}, mention {query}": round(statistics.median(_search_time(index, query) for _ in range(9)), 1)
        for case, pairs in cases.items()
        for index in [AliasIndex.build(pairs)]
        for query in ("无", "无名")
    }


def _search_time(index: AliasIndex, query: str) -> float:
    """Milliseconds of finding the best 128 rows and what they are like."""
    started = time.monotonic()
    found = index.search(query, 128)
    found.of(found.rows)
    return 1000 * (time.monotonic() - started)


def _resident() -> int:
    """Bytes of this process in memory (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="*", default=["chip-cdn", "kgclue"], help="data sets (default: both)")
    parser.add_argument("--seeds", type=int, nargs="*", default=[1, 2, 3])
    parser.add_argument("--models", type=Path, help="folder of trained models, SET-SEED/model")
    parser.add_argument("--parts", nargs="*", default=["recall", "nil", "million"])
    args, folder = data_folder(parser, NIL_SET)
    data = folder.parent
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        for name in args.sets if "recall" in args.parts else ():
            runs = []
            for seed in args.seeds:
                model = None if args.models is None else args.models / f"{name}-{seed}" / "model"
                if model is None or not model.is_dir():
                    options = {**OURS[name], "--dev": data / name / "dev.jsonl"}
                    model = trained(data / name, work / f"{name}-{seed}", data / name / "train.jsonl", options, seed)
                runs.append({"seed": seed, "recall": recall(data / name, model)})
                write_results(f"hybrid_{name.replace('-', '_')}", {"mean_recall": means(runs), "runs": runs})
        if "nil" in args.parts:
            (work / "nil").mkdir()
            write_results("hybrid_nil", nil(folder, args.models, work / "nil"))
        if "million" in args.parts:
            sets = (data / name for name in ("chip-cdn", "kgclue", NIL_SET))
            write_results("alias_index", million(sets, work / "names.safetensors"))


if __name__ == "__main__":
    main()
