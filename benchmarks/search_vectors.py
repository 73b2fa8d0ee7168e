"""Makes the vectors that `search.py` searches: a million real short texts and real mentions, by one trained encoder.

A BERT of 1 layer x 768 is trained on the mentions of three data sets. The texts are names, facts and clauses of all of
them, some 220,000, and spans of these until there are enough. Writes ``vectors.npy``, ``queries.npy`` and ``model``
into the folder ``--out``; what is there already is kept.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from common import data_folder

from modelscope_plugin.data import Entity, Mention, read_entities, read_mentions
from modelscope_plugin.encoding import EntityEncoder
from modelscope_plugin.modeling.random_model import write_random_bert

LABELLED = ("chip-cdn", "kgclue", "ccks2019-sample")
SETS = (*LABELLED, "oi-wiki")
LONGEST, MAX_LENGTH, CHUNK = 40, 32, 8192
_ENDS = re.compile(r"[，。；、：！？,;!?．《》“”\"()（）\[\]…\s]+")


def entities(folder: Path, names: tuple[str, ...]) -> Iterator[Entity]:
    """All entities of some data sets, with the set in the id."""
    for name in names:
        for entity in read_entities(folder / name / "kb.jsonl"):
            yield replace(entity, id=f"{name}:{entity.id}")


def mentions(folder: Path, part: str) -> Iterator[Mention]:
    """All labelled mentions of a part, with the set in the ids."""
    for name in LABELLED:
        file = folder / name / f"{part}.jsonl"
        for mention in read_mentions(file) if file.exists() else ():
            yield replace(mention, entity_ids=tuple(f"{name}:{one}" for one in mention.entity_ids))


def texts(folder: Path, count: int) -> list[str]:
    """So many different texts of 2 to 40 characters."""
    found: dict[str, None] = {}
    for entity in entities(folder, SETS):
        pieces = [*entity.names]
        for _, value in entity.facts:
            pieces += [value, *_ENDS.split(value)]
        found |= dict.fromkeys(piece.strip()[:LONGEST] for piece in pieces)
    real = [text for text in found if len(text) > 1]
    draw = random.Random(0)
    draw.shuffle(real)
    long = [text for text in real if len(text) >= 6]
    found = dict.fromkeys(real[:count])
    while len(found) < count:
        text = draw.choice(long)
        length = draw.randint(4, min(16, len(text) - 1))
        start = draw.randint(0, len(text) - length)
        found[text[start : start + length]] = None
    made = list(found)
    draw.shuffle(made)
    return made


def train(folder: Path, out: Path, labelled: int) -> None:
    """Train the encoder for one epoch."""
    vocabulary = (folder / "bert-chinese-vocab.txt").read_text(encoding="utf-8").split("\n")[:21128]
    with tempfile.TemporaryDirectory() as scratch:
        base, kb, train_file = (Path(scratch, name) for name in ("base", "kb.jsonl", "train.jsonl"))
        base.mkdir()
        write_random_bert(base, vocabulary=vocabulary, layers=1, hidden_size=768)
        drawn = list(mentions(folder, "train"))
        random.Random(0).shuffle(drawn)
        known = (replace(entity, facts=entity.facts[:3]).to_record() for entity in entities(folder, LABELLED))
        kb.write_text(_lines(known), encoding="utf-8")
        spans = ({key: getattr(one, key) for key in ("text", "start", "end", "entity_ids")} for one in drawn[:labelled])
        train_file.write_text(_lines(spans), encoding="utf-8")
        subprocess.run(
            [
                sys.executable, "-m", "modelscope_plugin", "train", "--model", base, "--out", out, "--kb", kb,
                "--train", train_file, "--stages", "1", "--epochs", "1", "--learning-rate", "1e-3", "--batch-size",
                "128", "--temperature", "0.05", "--normalize", "--pooling", "avg", "--max-length", str(MAX_LENGTH),
                "--skip-unknown",
                "--device", "cpu",
            ],
            check=True,
        )  # fmt: skip


def _lines(records: Iterable[dict[str, Any]]) -> str:
    return "".join(f"{json.dumps(record, ensure_ascii=False)}\n" for record in records)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder to write into")
    parser.add_argument("--entities", type=int, default=1_000_000, help="texts to encode (default: %(default)s)")
    parser.add_argument("--mentions", type=int, default=15_000, help="mentions to train on (default: %(default)s)")
    args, folder = data_folder(parser, ".")
    args.out.mkdir(parents=True, exist_ok=True)
    if not (args.out / "model").exists():
        train(folder, args.out / "model", args.mentions)
    encoder = EntityEncoder.from_pretrained(args.out / "model", device="cpu")
    np.save(args.out / "queries.npy", encoder.encode_query(list(islice(mentions(folder, "dev"), 4096))))
    made = texts(folder, args.entities)
    vectors = np.lib.format.open_memmap(args.out / "vectors.npy", "w+", "float32", (len(made), encoder.dimension))
    for start in range(0, len(made), CHUNK):
        vectors[start : start + CHUNK] = encoder.encode_document(made[start : start + CHUNK])
        print(f"{min(start + CHUNK, len(made)):,} of {len(made):,} texts", file=sys.stderr)


if __name__ == "__main__":
    main()
