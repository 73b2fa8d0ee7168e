"""training.json: how a model folder was trained."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
import transformers

from modelscope_plugin.config.configuration import read_configuration_file
from modelscope_plugin.errors import InputError, MissingFileError, ModelFolderError, TrainingError
from modelscope_plugin.storage.digests import digest_of
from modelscope_plugin.storage.files import write_json
from modelscope_plugin.training.results import StageResult
from modelscope_plugin.version import __version__

RECORD_FILE = "training.json"
"""File of the model folder that records how it was trained."""


def versions() -> dict[str, str]:
    """The versions on which the result of a run depends."""
    return {
        "modelscope_plugin": __version__,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
    }


def write_record(
    folder: Path,
    identity: Mapping[str, Any],
    base_model: str,
    best: StageResult,
    stages: Sequence[Mapping[str, Any]],
) -> None:
    """Write the record of a run into a model folder that is otherwise complete.

    Args:
        folder: The model folder.
        identity: All that decided the weights of the run.
        base_model: The checkpoint it started from: a hub id, or its path.
        best: The stage whose model the folder holds.
        stages: The results of all stages.
    """
    record = {
        **identity,
        "base_model": base_model,
        "run": _digest(identity),
        "stage": best.stage,
        "losses": best.losses,
        "collapsed": best.collapsed,
        "evaluation": best.evaluation,
        "stages": list(stages),
        "files": sorted(path.name for path in folder.iterdir()),
    }
    write_json(folder / RECORD_FILE, record)


def finished_run(folder: Path, identity: Mapping[str, Any]) -> tuple[list[StageResult], StageResult] | None:
    """The stages of the run that wrote a model folder, and the one it holds; None where it was another run.

    Raises:
        TrainingError: If it is the run, and its record is damaged.
    """
    file = folder / RECORD_FILE
    try:
        record = read_configuration_file(file)
    except (MissingFileError, ModelFolderError):
        return None
    if record.get("run") != _digest(identity):
        return None
    try:
        if not isinstance(record.get("stages"), list):
            raise InputError("stages must be a list")
        stages = [StageResult.from_record(stage, f"stages[{number}]") for number, stage in enumerate(record["stages"])]
        best = next((stage for stage in stages if stage.stage == record.get("stage")), None)
        if best is None:
            raise InputError(f"stage must be one of stages, not {record.get('stage')!r}")
    except InputError as error:
        raise TrainingError(f"{file}: {error}; delete {folder} and train anew") from None
    return stages, best


def check_replaceable(folder: Path) -> None:
    """Refuse to replace a model that was trained earlier.

    Raises:
        InputError: If there is one; it says when it was trained, from what, its recall, and what would go.
    """
    file = folder / RECORD_FILE
    if not file.is_file():
        return
    try:
        record = read_configuration_file(file)
    except ModelFolderError:
        record = {}
    trained = f"trained on {datetime.fromtimestamp(file.stat().st_mtime):%Y-%m-%d %H:%M}"
    base, figures = record.get("base_model"), record.get("evaluation")
    if isinstance(base, str):
        trained += f" from {base}"
    recall = figures.items() if isinstance(figures, dict) else ()
    shown = [f"{name} {value:.3f}" for name, value in recall if "recall@" in name and isinstance(value, float)]
    count = len([one for one in folder.rglob("*") if one.is_file()])
    raise InputError(
        f"{folder} holds a model, {trained}, {', '.join(shown[:3]) or 'recall not measured'}; its {count} files would "
        "be lost; name another folder, or replace it (overwrite=True, --overwrite)"
    )


def _digest(identity: Mapping[str, Any]) -> str:
    return digest_of(json.dumps(identity, sort_keys=True))
