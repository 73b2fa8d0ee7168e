"""Finds the folder of a model, given as a folder or as an id of the ModelScope hub."""

from __future__ import annotations

import re
from pathlib import Path

from modelscope_plugin.errors import MissingFileError
from modelscope_plugin.storage.files import recover_folder

_HUB_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*/[A-Za-z0-9_][A-Za-z0-9_.-]*")


def is_hub_id(name: str) -> bool:
    """True if a name has the form of a hub id, ``owner/name``."""
    return _HUB_ID.fullmatch(name) is not None


def resolve_model(model: str | Path, revision: str | None = None) -> Path:
    """Find the folder of a model, downloading it if a hub id is given.

    Args:
        model: A folder, or an id such as ``owner/name``, which ModelScope's hub client downloads once.
        revision: Branch or tag of a hub model.

    Returns:
        The folder.

    Raises:
        MissingFileError: If ``model`` is neither, or the hub does not have it.
    """
    path = Path(model)
    recover_folder(path)
    if path.is_dir():
        return path
    # A Path, or a name whose parent folder exists, means a folder and not a hub id.
    if isinstance(model, Path) or path.parent.is_dir() or not is_hub_id(str(model)):
        raise MissingFileError(f"there is no model folder {model}; name a folder or a hub id such as owner/name")
    from modelscope.hub.snapshot_download import snapshot_download

    try:
        return Path(snapshot_download(str(model), revision=revision))
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise MissingFileError(f"no folder {model}, and the hub does not give a model of that id ({reason})") from error
