"""Finds the folder of a model, given as a folder or as an id of the ModelScope hub."""

from __future__ import annotations

import logging
import re
import socket
from pathlib import Path, PurePosixPath, PureWindowsPath
from urllib.parse import urlsplit
from urllib.request import getproxies

from modelscope_plugin.errors import InputTypeError, MissingFileError, ModelFolderError
from modelscope_plugin.storage.atomic_write import recover_folder
from modelscope_plugin.text import show

logger = logging.getLogger(__name__)

CARD_MODEL = "damo/nlp_bert_entity-embedding_chinese-base"
"""The hub's own model of entity vectors for Chinese, whose card describes the method."""

_CONNECTION_SECONDS = 5
_HUB_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*/[A-Za-z0-9_][A-Za-z0-9_.-]*")


def is_hub_id(name: str) -> bool:
    """True if a name has the form of a hub id, ``owner/name``."""
    return _HUB_ID.fullmatch(name) is not None


def resolve_model(model: str | Path, revision: str | None = None) -> Path:
    """Find the folder of a model, downloading it if a hub id is given.

    Args:
        model: A folder, or an id such as ``owner/name``, which ModelScope's hub client downloads once. Where the hub
            cannot be reached, what was downloaded before is taken from its cache.
        revision: Branch or tag of a hub model.

    Returns:
        The folder.

    Raises:
        InputTypeError: If ``model`` is no name.
        MissingFileError: If ``model`` is neither, the hub does not have it, or the hub cannot be reached and the
            cache does not hold it.
        ModelFolderError: If the hub lists files outside the model's folder.
    """
    if not isinstance(model, str | Path) or not str(model):
        raise InputTypeError(f"model={show(model)} must be the name of a folder or a hub id such as owner/name")
    path = Path(model)
    recover_folder(path)
    if path.is_dir():
        return path
    # A Path, or a name whose parent folder exists, means a folder and not a hub id.
    if isinstance(model, Path) or path.parent.is_dir() or not is_hub_id(str(model)):
        raise MissingFileError(
            f"there is no model folder {model}; name a folder or a hub id such as {CARD_MODEL}, or make a base "
            "model to train with: modelscope entity init BASE --kb KB"
        )
    return _download(str(model), revision)


def _download(model: str, revision: str | None) -> Path:
    """Download a model, or find it in ModelScope's cache where the hub cannot be reached."""
    from modelscope.hub.snapshot_download import snapshot_download
    from modelscope_hub.errors import AuthenticationError, NotExistError, PermissionDeniedError

    # What the hub answers is not printed: it may hold the access token.
    try:
        _check_connection()
        _check_file_names(model, revision)
        return Path(snapshot_download(model, revision=revision))
    except ModelFolderError:
        raise
    except NotExistError as error:
        version = f" in revision {revision!r}" if revision else ""
        raise MissingFileError(f"no folder {model}, and the hub does not give a model of that id{version}") from error
    except (AuthenticationError, PermissionDeniedError) as error:
        raise MissingFileError(
            f"no folder {model}, and the hub refuses the model of that id; run modelscope login with a token that may "
            "read it"
        ) from error
    except Exception as error:
        reason = type(error).__name__
    try:
        folder = Path(snapshot_download(model, revision=revision, local_files_only=True))
    except Exception as error:
        raise MissingFileError(
            f"no folder {model}, the hub cannot be reached or fails ({reason}), and ModelScope's cache does not hold "
            "the model; check the network, or name a folder"
        ) from error
    logger.warning("the hub cannot be reached or fails (%s); %s is taken from the cache %s", reason, model, folder)
    return folder


def _check_connection() -> None:
    """Raise `OSError` at once where the hub's machine does not answer; the hub client tries for many seconds."""
    from modelscope_hub.config import get_default_config

    address = urlsplit(get_default_config().endpoint)
    if address.scheme in getproxies() or address.hostname is None:
        return
    port = address.port or (80 if address.scheme == "http" else 443)
    socket.create_connection((str(address.hostname), port), timeout=_CONNECTION_SECONDS).close()


def _check_file_names(model: str, revision: str | None) -> None:
    """Raise `ModelFolderError` if the hub lists a file outside the model: the hub client would write it there."""
    from modelscope_hub import HubApi

    api = HubApi(endpoint=HubApi().resolve_endpoint_for_read(model))
    for file in api.list_repo_files(model, "model", revision=revision or "master"):
        path = PurePosixPath(file.path.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or PureWindowsPath(file.path).drive or "\0" in file.path:
            raise ModelFolderError(
                f"the hub lists a file outside the model {model} ({file.path!r}); nothing is downloaded"
            )
