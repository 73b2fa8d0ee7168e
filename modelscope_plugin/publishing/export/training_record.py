"""The record of a training run as it is published: what was done, and no name of a place on the disk it was done on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from modelscope_plugin.config.configuration import read_configuration_file
from modelscope_plugin.modeling.location import is_hub_id
from modelscope_plugin.training.record import RECORD_FILE

# The others name files: the base model, which may be a hub id, and what else was in the folder.
_PUBLISHED = (
    "settings",
    "mining",
    "ks",
    "data",
    "processes",
    "device",
    "versions",
    "run",
    "stage",
    "losses",
    "collapsed",
    "evaluation",
    "stages",
)


def published_record(folder: Path) -> dict[str, Any] | None:
    """Read what the training.json of a model folder says to everybody.

    Args:
        folder: The model folder.

    Returns:
        The record, with ``base_model`` where that is a hub id; None where this package has not trained the model.

    Raises:
        ModelFolderError: If the file is no JSON object.
    """
    path = folder / RECORD_FILE
    if not path.is_file():
        return None
    record = read_configuration_file(path)
    if not isinstance(record.get("settings"), dict) or not isinstance(record.get("stages"), list):
        return None
    published = {key: record[key] for key in _PUBLISHED if key in record}
    base = str(record.get("base_model", ""))
    # As when a model is looked for: a name that is, or begins with, a folder that is there is no hub id.
    if is_hub_id(base) and not Path(base).exists() and not Path(base).parent.is_dir():
        published["base_model"] = base
    return published
