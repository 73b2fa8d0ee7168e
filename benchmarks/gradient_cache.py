"""Memory of a cached batch of 1,024 pairs against a plain batch of 32, and what the second encoding costs in time.

Each case is a process of its own: a BERT of 4 layers x 256, texts of 128 tokens, one gradient of a batch. Memory is the
peak of the process above what it had before, with model, optimiser moments and one small gradient in place.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from common import write_results

from modelscope_plugin.encoding import EntityEncoder
from modelscope_plugin.modeling.random_model import write_random_bert
from modelscope_plugin.training.epoch_batches import Batch
from modelscope_plugin.training.gradients import GradientComputer
from modelscope_plugin.training.losses import contrastive_loss
from modelscope_plugin.training.process_group import ProcessGroup

LENGTH = 128
CASES = {"plain_32": (32, 0), "plain_256": (256, 0), "cached_1024": (1024, 32)}


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def batch_of(pairs: int) -> Batch:
    """Random texts of full length."""
    ids = torch.randint(5, 1000, (2, pairs, LENGTH), generator=torch.Generator().manual_seed(0)).tolist()
    rows = torch.arange(pairs)
    return Batch(ids[0], ids[1], torch.stack([rows, rows], dim=1), torch.eye(pairs, dtype=torch.bool))


def measure(pairs: int, mini_batch_size: int) -> dict[str, float]:
    """One case, in this process."""
    with tempfile.TemporaryDirectory() as folder:
        write_random_bert(Path(folder), map(chr, range(0x4E00, 0x4E00 + 2000)), layers=4, hidden_size=256)
        encoder = EntityEncoder.from_pretrained(folder, device="cpu", normalize=True)
    encoder.model.train()
    loss = partial(contrastive_loss, temperature=0.05)
    processes = ProcessGroup(0, 1, torch.device("cpu"))
    computer = partial(GradientComputer, encoder.model, encoder.tokenizer, loss, processes)
    computer(0, contextlib.nullcontext).backward(batch_of(2), lambda gradient: gradient)
    before, started = peak_mib(), time.monotonic()
    computer(mini_batch_size, contextlib.nullcontext).backward(batch_of(pairs), lambda gradient: gradient)
    return {"added_mib": round(peak_mib() - before, 1), "seconds": round(time.monotonic() - started, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=tuple(CASES), help="measure one case in this process and print it")
    args = parser.parse_args()
    if args.case:
        print(json.dumps(measure(*CASES[args.case])))
        return
    figures: dict[str, Any] = {}
    for name in CASES:
        command = [sys.executable, __file__, "--case", name]
        figures[name] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
    cached, plain = figures["cached_1024"], figures["plain_32"]
    write_results(
        "gradient_cache",
        {
            "tokens": LENGTH,
            **figures,
            "memory_cached_1024_over_plain_32": round(cached["added_mib"] / plain["added_mib"], 2),
            "seconds_per_pair_cached_1024_over_plain_32": round(cached["seconds"] / 32 / plain["seconds"], 2),
        },
    )


if __name__ == "__main__":
    main()
