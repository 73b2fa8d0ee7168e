"""Finding mentions with the dictionary: the longest names, and names with their link probability.

Texts of CCKS 2019 (8,000 to count in, 1,000 to fit the threshold, 1,000 to measure) and of KgCLUE (8,000 of train; dev
in two halves), three seeds of the split. No model is needed: names and counts decide.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common import data_folder, write_results

from modelscope_plugin.data import Document, read_documents, read_entities
from modelscope_plugin.evaluation.end_to_end import Prediction, score_end_to_end
from modelscope_plugin.evaluation.fitting.fit_detection import fit_detection
from modelscope_plugin.linking.detection.counting import count_mentions
from modelscope_plugin.linking.detection.detectors import make_detector
from modelscope_plugin.retrieval import EntityIndex


def split(folder: Path, seed: int) -> tuple[list[Document], list[Document], list[Document]]:
    """Texts to count in, to fit on, and to measure."""
    if folder.name == "kgclue":
        dev = list(read_documents(folder / "dev.jsonl"))
        random.Random(seed).shuffle(dev)
        train = list(read_documents(folder / "train.jsonl"))
        return random.Random(seed).sample(train, 8000), dev[: len(dev) // 2], dev[len(dev) // 2 :]
    texts = list(read_documents(folder / "texts.jsonl"))
    random.Random(seed).shuffle(texts)
    return texts[:8000], texts[8000:9000], texts[9000:10000]


def measure(index: EntityIndex, texts: Sequence[Document]) -> dict[str, float]:
    """Precision, recall and F1 of the spans found, and characters a processor second."""
    detector = make_detector("dictionary", index)
    assert detector is not None
    characters = sum(len(one.text) for one in texts)
    started = time.process_time()
    found = detector.detect([one.text for one in texts])
    seconds = time.process_time() - started
    predictions = [[Prediction(*span, None) for span in spans] for spans in found]
    figures = score_end_to_end(predictions, [one.mentions for one in texts]).mentions
    shares = {"precision": figures.precision, "recall": figures.recall, "f1": figures.f1}
    return {name: round(100 * value, 1) for name, value in shares.items()} | {
        "characters_per_second": round(characters / seconds)
    }


def run(folder: Path, seed: int) -> dict[str, Any]:
    """Figures of the longest names, of counted names, and of counted names with the threshold fitted."""
    entities = list(read_entities(folder / "kb.jsonl"))
    index = EntityIndex(1, "none")
    index.add(entities, np.ones((len(entities), 1), np.float32))
    count, dev, test = split(folder, seed)
    figures: dict[str, Any] = {"longest names": measure(index, test)}
    count_mentions(index, count)
    figures["counted"] = measure(index, test)
    threshold, _ = fit_detection(index, dev)
    figures["counted, threshold fitted"] = measure(index, test) | {"threshold": threshold}
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="*", default=[1, 2, 3])
    args, folder = data_folder(parser, "ccks2019-sample")
    sets = (folder, folder.parent / "kgclue")
    write_results("detection", {one.name: {str(seed): run(one, seed) for seed in args.seeds} for one in sets})


if __name__ == "__main__":
    main()
