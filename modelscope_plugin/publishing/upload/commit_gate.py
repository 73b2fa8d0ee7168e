"""What stands between the hub client's uploading and its requests: one commit with every file, or none."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from modelscope_plugin.errors import ModelFolderError
from modelscope_plugin.publishing.upload.file_states import FileState, changed, check_unchanged


class CommitGate:
    """Holds the commits of one folder upload back until all files are there, and checks them.

    By itself the hub client commits whatever has arrived, so that a file which fails leaves half a model on the hub,
    reads small files once for their size and once more to send them, and asks for a public repository before each
    upload. The gate takes the place of those methods of one client object.

    Attributes:
        answer: What the hub answered to the commit; None as long as there was none.
        failure: The last exception of the client's requests; the client itself only counts the files that failed.
        refusal: Why the gate refused to commit.
    """

    def __init__(
        self, client: Any, folder: Path, states: dict[str, FileState], deleted: list[str], message: str
    ) -> None:
        self.answer: Any = None
        self.failure: Exception | None = None
        self.refusal: ModelFolderError | None = None
        self._folder = folder
        self._states = states
        self._deletions = [
            dict.fromkeys(("sha256", "content", "encoding"), "")
            | {"action": "delete", "path": path, "type": "normal", "size": 0}
            for path in deleted
        ]
        self._message = message
        self._actions: dict[str, dict[str, Any]] = {}
        self._send = self._noting(client.create_commit)
        replacements = {
            "create_commit": self._create_commit,
            "create_repo": self._create_repo,
            "upload_blob": self._noting(client.upload_blob),
            "validate_blobs": self._noting(client.validate_blobs),
        }
        for name, method in replacements.items():
            setattr(client, name, method)

    def _create_commit(self, *, operations: list[dict[str, Any]], commit_message: str, **request: Any) -> Any:
        from modelscope_hub import InvalidParameter

        try:
            for action in operations:
                self._check(action)
                self._actions[action["path"]] = action
            if self._actions.keys() != self._states.keys():
                return {}  # the client goes on with the files that are missing
            check_unchanged(self._folder, self._states)
        except ModelFolderError as error:
            self.refusal = error
            # Of the client's own kinds, and one that it does not try again.
            raise InvalidParameter("the folder changed during the upload") from None
        operations = [*(self._actions[name] for name in self._states), *self._deletions]
        self.answer = self._send(operations=operations, commit_message=self._message, **request)
        return self.answer

    def _check(self, action: dict[str, Any]) -> None:
        """Compare what the client would commit with what was read before."""
        name = action["path"]
        state = self._states.get(name)
        sha256 = action["sha256"]
        if action["type"] == "normal":
            sha256 = hashlib.sha256(base64.b64decode(action["content"])).hexdigest()
        if state is None or (action["size"], sha256) != (state.size, state.sha256):
            raise changed(self._folder, name)

    def _create_repo(self, *args: Any, **options: Any) -> Any:
        """The repository is there already, which the client passes over; it would ask for a public one."""
        from modelscope_hub.errors import AlreadyExistsError

        raise AlreadyExistsError("the repository is there")

    def _noting(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*args: Any, **options: Any) -> Any:
            try:
                return method(*args, **options)
            except Exception as error:
                self.failure = error
                raise

        return noted
