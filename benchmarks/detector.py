"""The dictionary detector with a million names: seconds to build, memory, and characters of text per second.

The names are those of the data sets and, up to the number wanted, spans of 2 to 8 characters drawn from their names,
descriptions and facts; the texts are those of the CCKS 2019 sample. Memory is what the resident set of a fresh process
grows by.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common import data_folder, write_results

from modelscope_plugin.data.names import normalized_name
from modelscope_plugin.data.readers import read_documents, read_entities
from modelscope_plugin.linking.detection.dictionary import DictionaryDetector
from modelscope_plugin.retrieval.lexical import AliasIndex

SETS = ("ccks2019-sample", "chip-cdn", "kgclue", "oi-wiki")
ROUNDS = 5


def names_of(folders: Sequence[Path], count: int) -> list[str]:
    """So many names that differ when they are normalised."""
    entities = [entity for folder in folders for entity in read_entities(folder / "kb.jsonl")]
    names = {normalized_name(name): name for entity in entities for name in entity.names}
    sources = [*names.values(), *(text for entity in entities if (text := entity.description[:1000]))]
    sources += [value for entity in entities for _, value in entity.facts]
    names.pop("", None)
    drawn = random.Random(0)
    while len(names) < count:
        source = drawn.choice(sources)
        length = drawn.randint(2, 8)
        start = drawn.randrange(max(1, len(source) - length + 1))
        name = source[start : start + length].replace("\n", " ")
        if key := normalized_name(name):
            names.setdefault(key, name)
    return list(names.values())[:count]


def resident() -> int:
    """Bytes of this process in memory (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def measure(names: Path, written: Path, texts: Path) -> dict[str, Any]:
    """In a process of its own: build the detector and search texts."""
    index = AliasIndex.load(names)
    ways = written.read_text(encoding="utf-8").split("\n")
    gc.collect()
    before, started = resident(), time.monotonic()
    detector = DictionaryDetector(index, lambda row: (ways[row],))
    built = time.monotonic() - started
    gc.collect()
    memory = resident() - before
    lines = texts.read_text(encoding="utf-8").split("\n")
    figures: dict[str, Any] = {}
    for kind, parts in {"sentences": lines, "one text": ["\n".join(lines)]}.items():
        seconds = []
        for _ in range(ROUNDS):
            started = time.monotonic()
            spans = sum(map(len, detector.detect(parts)))
            seconds.append(time.monotonic() - started)
        characters = sum(map(len, parts))
        figures[kind] = {
            "texts": len(parts),
            "characters": characters,
            "spans": spans,
            "characters per second": round(characters / statistics.median(seconds)),
        }
    return {
        "names": len(index),
        "seconds to build": round(built, 2),
        "bytes over the alias index": memory,
        "bytes of a name": round(memory / len(index), 1),
        "search": figures,
    }


def main() -> None:
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(measure(*map(Path, sys.argv[2:]))))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=int, nargs="*", default=[10_000, 100_000, 1_000_000])
    args, folder = data_folder(parser, SETS[0])
    folders = [folder.parent / name for name in SETS if (folder.parent / name).is_dir()]
    lines = [document.text.replace("\n", " ") for document in read_documents(folder / "texts.jsonl")]
    runs = []
    with tempfile.TemporaryDirectory() as scratch:
        paths = [Path(scratch) / name for name in ("names.safetensors", "written.txt", "texts.txt")]
        paths[2].write_text("\n".join(lines), encoding="utf-8")
        for count in args.counts:
            names = names_of(folders, count)
            AliasIndex.build((name, row) for row, name in enumerate(names)).save(paths[0])
            paths[1].write_text("\n".join(names), encoding="utf-8")
            command = [sys.executable, __file__, "--measure", *map(str, paths)]
            runs.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    write_results("detector", {"runs": runs})


if __name__ == "__main__":
    main()
