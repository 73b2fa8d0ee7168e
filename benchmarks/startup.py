"""What starting costs: imports and ``--help`` as processes, and opening an index of 100,000 entities.

Every figure is the median of several rounds, pairs measured in turn; the ratio is what carries over to other machines.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from common import write_results

from modelscope_plugin.data import Entity
from modelscope_plugin.retrieval import EntityIndex

ENTITIES, DIMENSION = 100_000, 768


def seconds(*command: str) -> float:
    """Wall seconds of a process."""
    started = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    commands = {
        "python": [sys.executable, "-c", "pass"],
        "help": [sys.executable, "-m", "modelscope_plugin", "--help"],
        "import_modelscope_pipelines": [sys.executable, "-c", "import modelscope.pipelines"],
        "import_both": [sys.executable, "-c", "import modelscope_plugin, modelscope.pipelines"],
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(args.rounds):
        for name, command in commands.items():
            times[name].append(seconds(*command))
    figures = {f"{name}_seconds": round(statistics.median(values), 3) for name, values in times.items()}
    added = [
        both - alone for both, alone in zip(times["import_both"], times["import_modelscope_pipelines"], strict=True)
    ]
    figures["import_added_seconds"] = round(statistics.median(added), 3)

    vectors = np.random.default_rng(0).standard_normal((ENTITIES, DIMENSION), dtype=np.float32)
    entities = [Entity(f"Q{row}", f"名称{row}", ("别名",), ("Thing",), "一句说明。" * 8) for row in range(ENTITIES)]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "index"
        built = EntityIndex(DIMENSION, "benchmark")
        built.add(entities, vectors)
        built.save(folder)
        opened, answered = [], []
        for _ in range(args.rounds):
            started = time.perf_counter()
            index = EntityIndex.load(folder)
            opened.append(time.perf_counter() - started)
            index.search(vectors[:1], 10)
            answered.append(time.perf_counter() - started)
    figures["open_index_seconds"] = round(statistics.median(opened), 3)
    figures["open_index_and_answer_seconds"] = round(statistics.median(answered), 3)
    write_results("startup", {"rounds": args.rounds, "entities": ENTITIES, "dimension": DIMENSION, **figures})


if __name__ == "__main__":
    main()
