"""Uploading files of a folder as a model of the hub, through ModelScope's own hub client."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from modelscope_plugin.errors import InputError
from modelscope_plugin.modeling.location import is_hub_id
from modelscope_plugin.publishing.upload.file_states import check_unchanged, read_file_states
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


@dataclass(frozen=True)
class UploadResult:
    """What `upload_folder` did.

    Attributes:
        repo_id: The repository, ``owner/name``.
        revision: The branch.
        url: The page of the model.
        created: Whether the repository was made by this call.
        commit: Id of the commit, where the hub gives one.
        files: Size in bytes of every file, by its path.
        deleted: Files of an earlier export that the new one does not have.
    """

    repo_id: str
    revision: str
    url: str
    created: bool
    commit: str | None
    files: dict[str, int]
    deleted: list[str]

    def to_record(self) -> dict[str, Any]:
        """The result as a JSON object."""
        return asdict(self)


def check_upload(repo_id: str, *, private: bool = False, revision: str | None = None, token: str | None = None) -> None:
    """Find out what would keep an upload from succeeding, as far as that can be known before; nothing is changed.

    Args:
        repo_id: As for `upload_folder`, and so are the others.
        private: Whether a private repository is asked for.
        revision: The branch.
        token: The access token.

    Raises:
        InputError: If ``repo_id`` has the wrong form.
        HubError: As for `upload_folder`.
    """
    _check_repo_id(repo_id)
    api = open_client(token)
    with translate_errors(api, repo_id):
        check_repository(api, repo_id, revision or DEFAULT_REVISION, private)


def upload_folder(
    folder: str | Path,
    files: Iterable[str],
    repo_id: str,
    *,
    private: bool = False,
    license: str | None = None,
    revision: str | None = None,
    token: str | None = None,
    commit_message: str | None = None,
    show_progress: bool | None = None,
    since: Mapping[str, FileState] | None = None,
) -> UploadResult:
    """Upload files of a folder in one commit; nothing else of the folder goes up and nothing is written into it.

    The repository is made where it is not there. After an upload that failed, a second call sends only what the hub
    does not have yet. Of an earlier export, what the new one does not have is deleted in the same commit, so that a
    download is what goes up here; a card's pictures and the like stay.

    Args:
        folder: The folder.
        files: Paths of the files in it, with ``/`` between the parts.
        repo_id: The model on the hub, ``owner/name``.
        private: Make a private repository; one that is there already has to be private then. False leaves the
            visibility of a repository that is there as it is.
        license: Licence of a repository that is made; by default the one that the hub client names.
        revision: Branch to commit to; one other than ``master`` has to be there.
        token: Access token; by default the one of MODELSCOPE_API_TOKEN, else the one saved by ``modelscope login``.
        commit_message: Message of the commit.
        show_progress: Whether to show a progress bar; by default where standard error is a terminal.
        since: What `read_file_states` gave for these files at an earlier moment, since when none may have changed.

    Returns:
        Where the files are now.

    Raises:
        InputError: If ``repo_id`` or a path has the wrong form.
        MissingFileError: If a file is not there.
        ModelFolderError: If a file changes during the upload; nothing is committed then.
        HubError: If there is no token, or the hub refuses it, lacks the branch, cannot be reached or fails; or the
            repository holds other files that would change how the model opens.
    """
    _check_repo_id(repo_id)
    api = open_client(token)
    states = read_file_states(folder, files) if since is None else {name: since[name] for name in files}
    check_unchanged(folder, states)
    if len(states) > _MOST_FILES:
        raise InputError(f"{len(states)} files; the hub takes at most {_MOST_FILES} in one commit")
    show = sys.stderr.isatty() if show_progress is None else show_progress
    revision = revision or DEFAULT_REVISION
    with translate_errors(api, repo_id):
        created = not check_repository(api, repo_id, revision, private)
        deleted = [] if created else find_obsolete_files(api, repo_id, revision, states)
        if created:
            create_repository(api, repo_id, private, license)
        upload = FolderUpload(api, repo_id, revision, Path(folder), states, show)
        upload.send_blobs()
        answer = upload.commit(commit_message or f"Upload {repo_id.split('/')[1]}", deleted)
    return UploadResult(
        repo_id=repo_id,
        revision=revision,
        url=f"{api.legacy.endpoint}/models/{repo_id}",
        created=created,
        commit=_commit_id(answer),
        files={name: state.size for name, state in states.items()},
        deleted=deleted,
    )


def _check_repo_id(repo_id: str) -> None:
    if not is_hub_id(repo_id):
        raise InputError(f"{repo_id!r} is not the id of a model; write owner/name, in Latin letters, digits and _-.")


def _commit_id(answer: Any) -> str | None:
    """The id in the hub's answer to a commit, which the client hands on as it is."""
    fields = {key.lower(): value for key, value in answer.items()} if isinstance(answer, dict) else {}
    found = (fields.get(key) for key in ("sha", "oid", "commitid", "commit_id", "id"))
    return next((value for value in found if isinstance(value, str) and value), None)
