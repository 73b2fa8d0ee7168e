"""Uploads files of a folder as a model of the hub, through ModelScope's own hub client."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from modelscope_plugin.errors import InputError
from modelscope_plugin.publishing.upload.file_states import check_unchanged
from modelscope_plugin.publishing.upload.hub_client import open_client, translate_errors
from modelscope_plugin.publishing.upload.repository import (
    DEFAULT_REVISION,
    check_repository,
    create_repository,
    find_obsolete_files,
)
from modelscope_plugin.publishing.upload.transfer import FolderUpload
from modelscope_plugin.storage.inventory import FileState

_MOST_FILES = 2000  # actions that the hub takes in one commit


def check_upload(repo_id: str, *, private: bool = False, revision: str | None = None, token: str | None = None) -> None:
    """Find out whether the hub would refuse an upload, as far as it says so beforehand; nothing is changed.

    Args:
        repo_id: As for `upload_folder`, like the others.
        private: Whether a private repository is asked for.
        revision: The branch.
        token: The access token.

    Raises:
        HubError: As for `upload_folder`.
    """
    api = open_client(token)
    with translate_errors(api, repo_id):
        check_repository(api, repo_id, revision or DEFAULT_REVISION, private)


def upload_folder(
    folder: str | Path,
    states: Mapping[str, FileState],
    repo_id: str,
    *,
    private: bool = False,
    license: str | None = None,
    revision: str | None = None,
    token: str | None = None,
    show_progress: bool | None = None,
) -> tuple[str, list[str]]:
    """Upload files of a folder in one commit; no other file of the folder is uploaded, and nothing is written into it.

    The repository is created if it does not exist. After a failed upload, a second call sends only what the hub does
    not have yet. The same commit deletes the files of an earlier export that the new one does not have, so that a
    download holds what was uploaded here; other harmless files, such as pictures of a card, stay.

    Args:
        folder: The folder.
        states: The files to upload, as `read_file_states` read them; none of them may have changed since.
        repo_id: The model on the hub, ``owner/name``.
        private: Whether a new repository is private; an existing one must be private already. False leaves the
            visibility of an existing repository as it is.
        license: Licence of a new repository; by default the one that the hub client names.
        revision: Branch to commit to; by default ``master``. Any other must exist.
        token: Access token; by default the one of MODELSCOPE_API_TOKEN, else the one saved by ``modelscope login``.
        show_progress: Whether to show a progress bar; by default if standard error is a terminal.

    Returns:
        The page of the model, and the paths of the deleted files.

    Raises:
        InputError: If there are more files than the hub takes.
        ModelFolderError: If a file has changed or changes during the upload; nothing is committed then.
        HubError: If there is no token, or the hub refuses it, lacks the branch, cannot be reached or fails; or the
            repository holds other files that would change how the model opens.
    """
    api = open_client(token)
    check_unchanged(folder, states)
    if len(states) > _MOST_FILES:
        raise InputError(f"{len(states)} files; the hub takes at most {_MOST_FILES} in one commit")
    revision = revision or DEFAULT_REVISION
    with translate_errors(api, repo_id):
        is_new = not check_repository(api, repo_id, revision, private)
        deleted = [] if is_new else find_obsolete_files(api, repo_id, revision, states)
        if is_new:
            create_repository(api, repo_id, private, license)
        upload = FolderUpload(api, repo_id, revision, Path(folder), states, show_progress)
        upload.send_blobs()
        upload.commit(f"Upload {repo_id.split('/')[1]}", deleted)
    return f"{api.legacy.endpoint}/models/{repo_id}", deleted
