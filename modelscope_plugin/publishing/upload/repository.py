"""Checks and creates a model's repository on the hub before an upload."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from modelscope_plugin.errors import HubError
from modelscope_plugin.publishing.export.export_record import EXPORT_FILE
from modelscope_plugin.text import printable

if TYPE_CHECKING:
    from modelscope_hub import HubApi

DEFAULT_REVISION = "master"
"""The branch that every repository of the hub has."""

# Files that do not change how a model opens.
_HARMLESS_NAMES = {".gitattributes", ".gitignore", "LICENSE", "NOTICE"}
_HARMLESS_SUFFIXES = {".md", ".png", ".jpg", ".jpeg", ".gif", ".svg", ".webp", ".pdf"}


def check_repository(api: HubApi, repo_id: str, revision: str, private: bool) -> bool:
    """Check whether a repository exists and can be uploaded to; nothing is changed.

    Args:
        api: The hub client.
        repo_id: Its id.
        revision: The branch to upload to.
        private: Whether it must be private.

    Returns:
        Whether it exists.

    Raises:
        HubError: If it is public and must be private, or lacks the branch.
    """
    from modelscope_hub import NotExistError, Visibility

    try:
        found = api.get_repo(repo_id, "model")
    except NotExistError:
        if revision != DEFAULT_REVISION:
            raise HubError(f"{repo_id} is not on the hub yet; upload to {DEFAULT_REVISION} first") from None
        return False
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
                "the hub client cannot create one: create it with git, or upload to another"
            )
    return True


def create_repository(api: HubApi, repo_id: str, private: bool, license: str | None) -> None:
    """Create a repository; raise `HubError` if its name is taken by one that the token cannot see."""
    from modelscope_hub import Visibility
    from modelscope_hub.errors import AlreadyExistsError

    try:
        visibility = Visibility.PRIVATE if private else Visibility.PUBLIC
        api.create_repo(repo_id, "model", visibility=visibility, license=license)
    except AlreadyExistsError:
        raise HubError(f"the name {repo_id} is taken by a repository that this token cannot see") from None


def find_obsolete_files(api: HubApi, repo_id: str, revision: str, files: Collection[str]) -> list[str]:
    """Find the files of an earlier export on the hub that the new one does not have.

    Args:
        api: The hub client.
        repo_id: The repository.
        revision: The branch.
        files: Paths of the files to upload.

    Returns:
        The paths to delete, so that a download equals the folder that was checked.

    Raises:
        HubError: If there are other files that would change how the model opens.
    """
    paths = {file.path for file in api.list_repo_files(repo_id, "model", revision=revision) if file.type == "blob"}
    others = sorted(paths.difference(files))
    earlier = _read_exported_files(api, repo_id, revision) if others and EXPORT_FILE in paths else set()
    foreign = [path for path in others if path not in earlier and not _is_harmless(path)]
    if foreign:
        raise HubError(
            f"{repo_id} holds {len(foreign)} files that are not part of this model ({printable(foreign[0])}, for one), "
            "so that a download would differ from what was checked; delete them on its page, or use another name"
        )
    return [path for path in others if path in earlier]


def _is_harmless(name: str) -> bool:
    path = PurePosixPath(name)
    return path.name in _HARMLESS_NAMES or path.suffix.lower() in _HARMLESS_SUFFIXES


def _read_exported_files(api: HubApi, repo_id: str, revision: str) -> set[str]:
    """Return the files that export.json on the hub names; none if it cannot be read."""
    with api.legacy.download_stream(repo_id, "model", EXPORT_FILE, revision=revision) as response:
        try:
            return set(json.loads(response.content)["files"])
        except (ValueError, KeyError, TypeError):
            return set()
