"""Approximate against exact search: queries per second, recall, memory, opening, and one linked mention.

Needs vectors of real texts and of real mentions from one trained encoder, as two float32 .npy files, because the
neighbourhoods decide what an index can leave out. The ways are timed in turn in one process, medians of several
rounds; memory is the resident set of a fresh process that opens the index and answers all queries.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import torch
from common import write_results

from modelscope_plugin import Entity, EntityEncoder, EntityIndex, EntityLinker
from modelscope_plugin.retrieval.dense.faiss.exact_search import search_exact
from modelscope_plugin.retrieval.dense.faiss.vector_matrix import VectorMatrix

K, BATCH, BATCHES = 128, 64, 4


def blocked_product(queries: Any, vectors: Any, k: int, block: int = 65536) -> None:
    """Exact search by torch."""
    asked, scores, rows = torch.from_numpy(queries), [], []
    for start in range(0, len(vectors), block):
        part = torch.from_numpy(vectors[start : start + block])
        found = torch.topk(asked @ part.T, min(k, len(part)), dim=1)
        scores.append(found.values)
        rows.append(found.indices + start)
    best = torch.topk(torch.cat(scores, 1), k, dim=1).indices
    torch.cat(rows, 1).gather(1, best)


def seconds(call: Any) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def open_and_search(folder: str, queries: str) -> None:
    """In a process of its own: seconds to the first answer, and the resident set after all answers."""
    asked = np.load(queries)
    started = time.perf_counter()
    index = EntityIndex.load(folder)
    opened = time.perf_counter() - started
    index.search(asked[:1], K)
    answered = time.perf_counter() - started
    for start in range(0, len(asked), BATCH):
        index.search_rows(asked[start : start + BATCH], K)
    status = Path("/proc/self/status").read_text().splitlines()
    resident = next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmRSS"))
    print(json.dumps({"open_seconds": opened, "first_answer_seconds": answered, "resident_mib": resident}))


def linked(model: str, index: EntityIndex, texts: list[str]) -> dict[str, float]:
    """Milliseconds of one mention at a time, whole and its search alone."""
    encoder = EntityEncoder.from_pretrained(model, device="cpu")
    index.fingerprint = encoder.fingerprint
    linker = EntityLinker(encoder, index)
    linker.link(texts[:1])
    whole = [seconds(lambda text=text: linker.link([text])) for text in texts]
    vectors = encoder.encode_query(texts)
    search = [seconds(lambda row=row: index.search(vectors[row : row + 1], 10)) for row in range(len(texts))]
    return {"link_ms": 1000 * statistics.median(whole), "search_ms": 1000 * statistics.median(search)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", required=True, help="entity vectors, .npy")
    parser.add_argument("--queries", required=True, help="mention vectors, .npy")
    parser.add_argument("--model", help="the encoder, to measure one linked mention")
    parser.add_argument("--text", nargs="*", default=[], help="texts with a marked mention, for the same")
    parser.add_argument("--entities", type=int, help="the first N vectors")
    parser.add_argument("--asked", type=int, default=2048, help="queries to use")
    parser.add_argument("--search", default="approximate", help="as for EntityIndex.tune")
    parser.add_argument("--precision", default="int8")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--name", default="search", help="name of the results file (default: %(default)s)")
    parser.add_argument("--open", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.open:
        open_and_search(args.open, args.queries)
        return
    vectors = np.ascontiguousarray(np.load(args.vectors, mmap_mode="r")[: args.entities])
    queries = np.load(args.queries)
    queries = np.ascontiguousarray(queries[:: max(1, len(queries) // args.asked)][: args.asked])
    figures: dict[str, Any] = {
        "entities": len(vectors),
        "dimension": vectors.shape[1],
        "k": K,
        "batch": BATCH,
        "batches": BATCHES,
    }
    figures["threads"] = faiss.omp_get_max_threads()
    torch.set_num_threads(faiss.omp_get_max_threads())
    index = EntityIndex(vectors.shape[1], "benchmark")
    index.add([Entity(f"Q{row}", f"名称{row}") for row in range(len(vectors))], vectors)
    scratch = tempfile.TemporaryDirectory()
    index.save(Path(scratch.name) / "exact")
    started = time.perf_counter()
    tuning = index.tune(queries, search=args.search, precision=args.precision)
    figures |= {"tuning": tuning.to_record(), "tune_seconds": round(time.perf_counter() - started)}
    print(json.dumps(figures), flush=True)
    matrix = VectorMatrix(vectors.shape[1])
    matrix.add(vectors)
    ways = {
        "exact": lambda part: search_exact(part, matrix, K),
        "exact_faiss_default": lambda part: faiss.knn(part, vectors, K, metric=faiss.METRIC_INNER_PRODUCT),
        "exact_torch": lambda part: blocked_product(part, vectors, K),
        "index": lambda part: index.search_rows(part, K),
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(args.rounds):
        # One batch after another, as they come in use.
        at = (turn * BATCHES + np.arange(BATCHES)) * BATCH % (len(queries) - BATCH)
        parts = [np.ascontiguousarray(queries[start : start + BATCH]) for start in at]
        for name, search in ways.items():
            rates[name].append(BATCH * BATCHES / seconds(lambda search=search, parts=parts: list(map(search, parts))))
    figures["queries_per_second"] = {name: round(statistics.median(values), 1) for name, values in rates.items()}
    # Ours makes its own products, so that approximate search is also compared with the usual ways.
    usual = np.max([rates["exact_faiss_default"], rates["exact_torch"]], axis=0)
    fastest = np.maximum(usual, rates["exact"])
    for name, other in (("ratio_to_usual_exact", usual), ("ratio_to_fastest_exact", fastest)):
        figures[name] = round(float(np.median(np.array(rates["index"]) / other)), 1)
    index.save(Path(scratch.name) / "index")
    asked = Path(scratch.name) / "queries.npy"
    np.save(asked, queries)
    for name in ("index", "exact"):
        command = [sys.executable, __file__, "--vectors", "", "--queries", str(asked), "--open"]
        folder = str(Path(scratch.name) / name)
        reply = subprocess.run([*command, folder], check=True, stdout=subprocess.PIPE, text=True)
        figures[f"opened_{name}"] = {key: round(value, 2) for key, value in json.loads(reply.stdout).items()}
    scratch.cleanup()
    if args.model and args.text:
        figures["one_mention"] = {name: round(value, 2) for name, value in linked(args.model, index, args.text).items()}
    write_results(args.name, {"rounds": args.rounds, **figures})


if __name__ == "__main__":
    main()
