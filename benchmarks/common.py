"""What the benchmarks share: the data folder, the machine, the results file."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import sys
from datetime import date
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
_PACKAGES = ("modelscope_plugin", "modelscope", "torch", "transformers", "faiss-cpu", "numpy")


def data_folder(
    parser: argparse.ArgumentParser, name: str, argv: list[str] | None = None
) -> tuple[argparse.Namespace, Path]:
    """Parse the arguments and find a data set, or leave with a plain sentence where it is missing."""
    parser.add_argument("--data", default="../shared/data", help="folder of the data sets (default: %(default)s)")
    args = parser.parse_args(argv)
    folder = Path(args.data) / name
    if not folder.is_dir():
        print(f"skipped: there is no {folder}; name the folder of the data sets with --data")
        sys.exit(0)
    return args, folder


def machine() -> dict[str, Any]:
    """Versions and hardware."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    return {
        "date": date.today().isoformat(),
        "processor": model,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in _PACKAGES},
    }


def write_results(name: str, figures: dict[str, Any]) -> None:
    """Print figures and write them to the results folder."""
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps({"machine": machine(), **figures}, ensure_ascii=False, indent=2)
    (RESULTS / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    print(text)
