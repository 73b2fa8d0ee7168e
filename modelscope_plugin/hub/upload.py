"""Uploading files of a folder as a model of the hub, through ModelScope's own hub client."""

from __future__ import annotations

import glob
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelscope_plugin.errors import HubError, InputError
from modelscope_plugin.hub.client_output import client_output
from modelscope_plugin.hub.commit_gate import CommitGate
from modelscope_plugin.hub.file_states import check_unchanged, read_states

if TYPE_CHECKING:
    from modelscope_hub import HubApi

DEFAULT_REVISION = "master"
"""The branch that every repository of the hub has."""

_REPO_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9][A-Za-z0-9_.-]*")
_TOKEN = re.compile(r"[!-~]+")
_MOST_FILES = 2000  # actions that the hub takes in one commit
_TOKEN_REMEDY = "give one with --token or in MODELSCOPE_API_TOKEN, or save it with `modelscope login`"


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
    """

    repo_id: str
    revision: str
    url: str
    created: bool
    commit: str | None
    files: dict[str, int]

    def to_record(self) -> dict[str, Any]:
        """The result as a JSON object."""
        return {
            "repo_id": self.repo_id,
            "revision": self.revision,
            "url": self.url,
            "created": self.created,
            "commit": self.commit,
            "files": self.files,
        }


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
) -> UploadResult:
    """Upload files of a folder in one commit; nothing else of the folder goes up and nothing is written into it.

    The repository is made where it is not there. After an upload that failed, a second call sends only what the hub
    does not have yet. Files that are on the hub and not among ``files`` stay there.

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
        show_progress: Show the progress bars and warnings of the hub client; by default where standard error is a
            terminal.

    Returns:
        Where the files are now.

    Raises:
        InputError: If ``repo_id`` or a path has the wrong form.
        MissingFileError: If a file is not there.
        ModelFolderError: If a file changes during the upload; nothing is committed then.
        HubError: If there is no token, or the hub refuses it, lacks the branch, cannot be reached or fails.
    """
    if not _REPO_ID.fullmatch(repo_id):
        raise InputError(f"{repo_id!r} is not the id of a model; write owner/name, in Latin letters, digits and -_.")
    api = _client(token)
    states = read_states(folder, files)
    if len(states) > _MOST_FILES:
        raise InputError(f"{len(states)} files; the hub takes at most {_MOST_FILES} in one commit")
    show = sys.stderr.isatty() if show_progress is None else show_progress
    revision = revision or DEFAULT_REVISION
    endpoint = str(api.legacy.endpoint)
    with client_output(show):
        try:
            created = _prepare_repository(api, repo_id, revision, private, license)
        except (OSError, RuntimeError, ValueError, _client_error()) as error:
            raise _explained(error, api, repo_id) from None
        gate = CommitGate(api.legacy, Path(folder), states, commit_message or f"Upload {repo_id.split('/')[1]}")
        try:
            api.upload_folder(
                repo_id,
                "model",
                folder,
                revision=revision,
                allow_patterns=[glob.escape(name) for name in states],
                # Its cache would be a file in the folder that takes no notice of the branch; which blobs are there
                # the hub itself knows.
                use_cache=False,
                disable_tqdm=not show,
            )
        except (OSError, RuntimeError, ValueError, _client_error()) as error:
            if gate.refusal:
                raise gate.refusal from None
            check_unchanged(folder, states)
            raise _explained(gate.failure or error, api, repo_id) from None
    if gate.answer is None:
        raise HubError(f"{repo_id}: the hub client ended without a commit; upload again")
    return UploadResult(
        repo_id=repo_id,
        revision=revision,
        url=f"{endpoint}/models/{repo_id}",
        created=created,
        commit=_commit_id(gate.answer),
        files={name: state.size for name, state in states.items()},
    )


def _client(token: str | None) -> HubApi:
    """The hub client with the token that is to be used."""
    from modelscope_hub import HubApi, HubConfig

    config = HubConfig(token=token)
    config.token = (config.token or "").strip()
    if not config.token:
        raise HubError(f"uploading to {config.endpoint} needs an access token; {_TOKEN_REMEDY}")
    if not _TOKEN.fullmatch(config.token):
        raise HubError(f"the access token holds characters that no token has; {_TOKEN_REMEDY}")
    return HubApi(config)


def _client_error() -> type[Exception]:
    from modelscope_hub import HubError as ClientError

    return ClientError


def _prepare_repository(api: HubApi, repo_id: str, revision: str, private: bool, license: str | None) -> bool:
    """Make the repository, or check the one that is there; tells whether it was made."""
    from modelscope_hub import NotExistError, Visibility
    from modelscope_hub.errors import AlreadyExistsError

    try:
        found = api.get_repo(repo_id, "model")
    except NotExistError:
        if revision != DEFAULT_REVISION:
            raise HubError(f"{repo_id} is not on the hub yet; upload to {DEFAULT_REVISION} first") from None
        visibility = Visibility.PRIVATE if private else Visibility.PUBLIC
        try:
            api.create_repo(repo_id, "model", visibility=visibility, license=license)
        except AlreadyExistsError:
            raise HubError(f"the name {repo_id} is taken by a repository that this token does not see") from None
        return True
    if private and found.visibility != Visibility.PRIVATE:
        raise HubError(
            f"{repo_id} is on the hub already and not private; make it private on its page, "
            "or upload without asking for a private one"
        )
    if revision != DEFAULT_REVISION:
        branches = [branch["Revision"] for branch in api.legacy.list_revisions_detail(repo_id, "model")[0]]
        if revision not in branches:
            raise HubError(
                f"{repo_id} has no branch {revision} (it has {', '.join(branches) or 'none'}); "
                "the hub client cannot make one: make it with git, or upload to another"
            )
    return False


def _explained(error: Exception, api: HubApi, repo_id: str) -> HubError:
    """Say what an exception of the client means and what would help, without secrets."""
    from modelscope_hub import APIError, AuthenticationError, NetworkError, PermissionDeniedError
    from requests import RequestException

    if isinstance(error, HubError):
        return error
    endpoint, owner = api.legacy.endpoint, repo_id.split("/")[0]
    again = "upload again: what has arrived is not sent twice"
    if isinstance(error, AuthenticationError):
        return HubError(f"{endpoint} refuses the access token; {_TOKEN_REMEDY}")
    if isinstance(error, PermissionDeniedError):
        return HubError(f"the access token may not write to {repo_id}; use one of {owner} that has the right to write")
    if isinstance(error, NetworkError | RequestException):
        return HubError(
            f"{endpoint} cannot be reached or broke off; check the network and MODELSCOPE_ENDPOINT, {again}"
        )
    if isinstance(error, APIError) and error.status_code:
        reason = _without_secrets(error.message, str(api.legacy.token))
        return HubError(f"{endpoint} answers {error.status_code} to the upload to {repo_id} ({reason}); {again}")
    return HubError(f"the upload to {repo_id} failed ({type(error).__name__}); {again}")


def _without_secrets(message: str, token: str) -> str:
    """The first line of what the hub says, without the token and the queries of addresses, which can be signed."""
    line = (message.splitlines() or [""])[0].replace(token, "***")
    return re.sub(r"\?\S+", "", line)[:200]


def _commit_id(answer: Any) -> str | None:
    """The id in the hub's answer to a commit, which the client hands on as it is."""
    fields = {key.lower(): value for key, value in answer.items()} if isinstance(answer, dict) else {}
    found = (fields.get(key) for key in ("sha", "oid", "commitid", "commit_id", "id"))
    return next((value for value in found if isinstance(value, str) and value), None)
