"""Sentences per second of encoding, beside ModelScope's built-in pipeline and sentence-transformers.

``speed``: BERT-base with random weights, Chinese texts of 8 to 126 characters, float32 and 8 bits, every contender in
each round; ratios are medians over the rounds. ``limit`` is the machine's own float32 matrix product. The built-in
pipeline runs with transformers 4.57 only, the ONNX backend of sentence-transformers with ``optimum-onnx`` only; what
cannot run is left out. ``memory``: a stream of texts through a small model, the memory of the process on the way.
``recall``: a small model trained here, evaluated in float32, in 8 bits, and in float32 on an index of 8 bits.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from common import RESULTS, data_folder, write_results

from modelscope_plugin.data import Entity, entity_text, read_entities, read_mentions
from modelscope_plugin.encoding import EntityEncoder
from modelscope_plugin.encoding.encoder import iterate_documents
from modelscope_plugin.evaluation.evaluate import evaluate
from modelscope_plugin.modeling.random_model import write_random_bert
from modelscope_plugin.retrieval.building import build_index

LAYERS, HIDDEN = 12, 768
KS = (1, 4, 16, 64, 128)
TRAINING = {"chip-cdn": ("--epochs", "3"), "kgclue": ("--epochs", "1")}
BUILTIN = (
    '{"framework": "pytorch", "task": "sentence-embedding", "model": {"type": "bert"}, '
    '"preprocessor": {"type": "sentence-embedding"}, "pipeline": {"type": "sentence-embedding"}}'
)


def texts_of(folder: Path, count: int) -> list[str]:
    """Texts of 8 to 126 characters, 45 on the average, all different."""
    draw = random.Random(1)
    source = "".join(entity_text(entity) for entity in read_entities(folder / "ccks2019-sample" / "kb.jsonl"))
    lengths = (8 + int(118 * draw.betavariate(1.4, 3.1)) for _ in range(count))
    return [source[at : at + length] for at, length in ((draw.randrange(len(source) - 126), n) for n in lengths)]


def vocabulary(folder: Path) -> list[str]:
    return (folder / "bert-chinese-vocab.txt").read_text(encoding="utf-8").split("\n")[:21128]


def matrix_product() -> float:
    """Multiplications and additions a second of a large float32 matrix product, the best of several."""
    one, other = torch.randn(2048, 2048), torch.randn(2048, 2048)
    torch.mm(one, other)
    best = float("inf")
    for _ in range(8):
        started = time.perf_counter()
        torch.mm(one, other)
        best = min(best, time.perf_counter() - started)
    return 2 * 2048**3 / best


def work(lengths: list[int]) -> float:
    """Multiplications and additions of the matrix products that texts of these lengths need."""
    linear = 2 * LAYERS * (4 * HIDDEN**2 + 2 * HIDDEN * 4 * HIDDEN)
    return float(sum(length * (linear + 4 * LAYERS * HIDDEN * length) for length in lengths))


def contenders(base: Path, texts: list[str]) -> dict[str, Callable[[], Any]]:
    """What can run here, by name."""
    found: dict[str, Callable[[], Any]] = {}
    if int(transformers.__version__.split(".")[0]) < 5:
        from modelscope.pipelines import pipeline

        pipe = pipeline("sentence-embedding", model=str(base), device="cpu")
        found["builtin, one by one"] = lambda: [pipe({"source_sentence": [text]}) for text in texts]
        parts = [texts[at : at + 32] for at in range(0, len(texts), 32)]
        found["builtin, 32 in a list"] = lambda: [pipe({"source_sentence": part}) for part in parts]
        found["builtin, one list"] = lambda: pipe({"source_sentence": texts})
    from sentence_transformers import SentenceTransformer
    from sentence_transformers import models as modules

    transformer = modules.Transformer(str(base), max_seq_length=128)
    pooling = modules.Pooling(HIDDEN, pooling_mode="cls")
    theirs = SentenceTransformer(modules=[transformer, pooling], device="cpu")
    found["sentence-transformers"] = lambda: theirs.encode(texts)
    if importlib.util.find_spec("optimum") and importlib.util.find_spec("onnxruntime"):
        found |= their_int8(theirs, base.with_name("theirs"), texts)
    backends = ["torch", *(["onnx", "onnx-int8"] if importlib.util.find_spec("onnxscript") else [])]
    for backend in backends:
        encoder = EntityEncoder.from_pretrained(base, device="cpu", backend=backend)  # type: ignore[arg-type]
        found[f"ours, {backend}"] = lambda encoder=encoder: encoder.encode_document(texts)  # type: ignore[misc]
    return found


def their_int8(model: Any, folder: Path, texts: list[str]) -> dict[str, Callable[[], Any]]:
    """sentence-transformers with its own ONNX backend, quantised by its own function for this processor."""
    from sentence_transformers import SentenceTransformer, export_dynamic_quantized_onnx_model

    model.save_pretrained(str(folder))
    plain = SentenceTransformer(str(folder), backend="onnx", device="cpu", model_kwargs={"export": True})
    vnni = "avx512_vnni" in Path("/proc/cpuinfo").read_text()
    kind = "avx512_vnni" if vnni else "avx2"
    export_dynamic_quantized_onnx_model(plain, kind, str(folder))
    file = next(folder.rglob(f"*_{kind}.onnx")).relative_to(folder).as_posix()
    quantised = SentenceTransformer(str(folder), backend="onnx", device="cpu", model_kwargs={"file_name": file})
    return {"sentence-transformers, ONNX int8": lambda: quantised.encode(texts)}


def speed(folder: Path, count: int, rounds: int) -> dict[str, Any]:
    """All contenders in turn."""
    texts = texts_of(folder, count)
    with tempfile.TemporaryDirectory() as scratch:
        base = Path(scratch, "base")
        base.mkdir()
        write_random_bert(base, vocabulary=vocabulary(folder), layers=LAYERS, hidden_size=HIDDEN)
        (base / "configuration.json").write_text(BUILTIN)
        runs = contenders(base, texts)
        encoder = EntityEncoder.from_pretrained(base, device="cpu")
        tokens = encoder.tokenizer.entity_ids(texts)
        needed = work([len(ids) for ids in tokens])
        vectors = encoder.encode_document(texts)
        difference = float(np.abs(vectors - one_by_one(encoder, tokens)).max())
        rates: dict[str, list[float]] = {name: [] for name in ("limit", *runs)}
        for _ in range(rounds):
            rates["limit"].append(count / (needed / matrix_product()))
            for name, run in runs.items():
                started = time.perf_counter()
                run()
                rates[name].append(count / (time.perf_counter() - started))
            print({name: round(values[-1], 2) for name, values in rates.items()}, file=sys.stderr, flush=True)
    return {
        "texts": count,
        "mean_characters": round(statistics.mean(map(len, texts)), 1),
        "threads": torch.get_num_threads(),
        "sentences_per_second": {name: [round(rate, 2) for rate in values] for name, values in rates.items()},
        "ratios": ratios(rates),
        "largest_difference_to_one_by_one": difference,
    }


def one_by_one(encoder: EntityEncoder, tokens: list[list[int]]) -> Any:
    """The plain computation: each text alone, without padding."""
    with torch.inference_mode():
        ids = [torch.tensor([each]) for each in tokens]
        return torch.cat([encoder.model.embed("entity", each, torch.ones_like(each)) for each in ids]).numpy()


def ratios(rates: dict[str, list[float]]) -> dict[str, float]:
    """Medians over the rounds of what the goals speak of."""
    best = [max(values) for values in zip(*(v for name, v in rates.items() if name.startswith("builtin")), strict=True)]
    table = rates | ({"builtin, best": best} if best else {})
    pairs = [
        (ours, other)
        for ours in ("ours, torch", "ours, onnx", "ours, onnx-int8")
        for other in ("builtin, best", "sentence-transformers", "sentence-transformers, ONNX int8", "limit")
        if ours in table and other in table
    ]
    return {
        f"{ours} / {other}": round(statistics.median(a / b for a, b in zip(table[ours], table[other], strict=True)), 3)
        for ours, other in pairs
    }


def memory(folder: Path, count: int) -> dict[str, Any]:
    """The most memory of a process of its own that encodes a stream, over that of the loaded model."""
    with tempfile.TemporaryDirectory() as scratch:
        write_random_bert(Path(scratch), vocabulary=vocabulary(folder))
        command = [
            sys.executable,
            __file__,
            "stream",
            "--model",
            scratch,
            "--stream",
            str(count),
            "--data",
            str(folder),
        ]
        output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    result: dict[str, Any] = json.loads(output.splitlines()[-1])
    return result


def stream(folder: Path, model: str, count: int) -> None:
    """Encode a stream of entities that is made on the way, and print the memory at its tenths."""
    texts = texts_of(folder, 4096)
    encoder = EntityEncoder.from_pretrained(model, device="cpu")
    encoder.encode_document(texts[:8])
    loaded = resident()
    entities = (Entity(str(at), f"{at} {texts[at % len(texts)][:40]}") for at in range(count))
    done, marks, started = 0, [], time.perf_counter()
    for chunk, _ in iterate_documents(encoder, entities):
        done += len(chunk)
        if done >= count * (len(marks) + 1) // 10:
            marks.append(round(resident() - loaded))
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - loaded
    seconds = time.perf_counter() - started
    figures = {
        "texts": count,
        "loaded_mib": round(loaded),
        "over_it_at_tenths_mib": marks,
        "most_over_it_mib": round(most),
    }
    print(json.dumps(figures | {"texts_per_second": round(count / seconds)}))


def resident() -> float:
    """Memory of this process now, MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def recall(folder: Path, name: str) -> dict[str, Any]:
    """Recall of one trained model in float32, in 8 bits, and mixed."""
    with tempfile.TemporaryDirectory() as scratch:
        base, model = Path(scratch, "base"), Path(scratch, "model")
        base.mkdir()
        write_random_bert(base, vocabulary=vocabulary(folder))
        files = [folder / name / f"{part}.jsonl" for part in ("kb", "train", "dev")]
        command = [
            sys.executable, "-m", "modelscope_plugin", "train", "--model", base, "--out", model, "--kb", files[0],
            "--train", files[1], "--stages", "1", *TRAINING[name], "--learning-rate", "1e-3", "--batch-size", "128",
            "--random-negatives", "128", "--temperature", "0.05", "--normalize", "--pooling", "avg",
            "--max-length", "64", "--seed", "1", "--device", "cpu",
        ]  # fmt: skip
        subprocess.run(list(map(str, command)), stdout=subprocess.DEVNULL, check=True)
        mentions = list(read_mentions(files[2]))
        encoders = {
            backend: EntityEncoder.from_pretrained(model, device="cpu", backend=backend)  # type: ignore[arg-type]
            for backend in ("torch", "onnx-int8")
        }
        indexes = {backend: build_index(encoder, read_entities(files[0])) for backend, encoder in encoders.items()}
        return {
            f"{queries} mentions, {entities} entities": {
                k: round(100 * value, 2)
                for k, value in evaluate(encoders[queries], indexes[entities], mentions, ks=KS).recall.items()
            }
            for queries, entities in (("torch", "torch"), ("onnx-int8", "onnx-int8"), ("torch", "onnx-int8"))
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", choices=("speed", "memory", "recall", "stream"))
    parser.add_argument("--texts", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--stream", type=int, default=1_000_000, help="texts of the stream")
    parser.add_argument("--model", help=argparse.SUPPRESS)
    parser.add_argument("--name", default="encoding", help="name of the results file (default: %(default)s)")
    args, folder = data_folder(parser, ".")
    if "stream" in args.parts:
        stream(folder, args.model, args.stream)
        return
    path = RESULTS / f"{args.name}.json"
    figures = json.loads(path.read_text()) if path.exists() else {}
    for part in args.parts:
        if part == "speed":
            figures["speed"] = speed(folder, args.texts, args.rounds)
        elif part == "memory":
            figures["memory"] = memory(folder, args.stream)
        else:
            figures["recall"] = {name: recall(folder, name) for name in TRAINING}
        figures.pop("machine", None)
        write_results(args.name, figures)


if __name__ == "__main__":
    main()
