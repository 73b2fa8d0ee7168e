"""Sends files to the hub in its three steps: ask which blobs it lacks, send those, commit all files at once."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any

from modelscope_plugin.progress import progress_bar
from modelscope_plugin.publishing.upload.file_states import changed_file_error, check_unchanged
from modelscope_plugin.publishing.upload.hub_client import retry
from modelscope_plugin.storage.digests import BLOCK_SIZE
from modelscope_plugin.storage.inventory import FileState

if TYPE_CHECKING:
    from modelscope_hub import HubApi
    from tqdm import tqdm

_CONNECTIONS = 4


@dataclass(frozen=True)
class FolderUpload:
    """Files of a folder on their way to a branch of a repository.

    Attributes:
        api: The hub client.
        repo_id: The repository, which exists.
        revision: The branch.
        folder: The folder.
        states: The files to upload, as they were when they were checked.
        show_progress: True, False, or None for a bar on a terminal only.
    """

    api: HubApi
    repo_id: str
    revision: str
    folder: Path
    states: Mapping[str, FileState]
    show_progress: bool | None

    def send_blobs(self) -> None:
        """Send the content of the large files that the hub lacks.

        Raises:
            ModelFolderError: If a file changed.
        """
        names = {state.sha256: name for name, state in self.states.items() if _is_blob(name, state.size)}
        addresses = self._find_addresses(list(names))
        lacking = list(addresses)
        total = sum(self.states[names[digest]].size for digest in lacking)
        with progress_bar(total, "Uploading", "B", self.show_progress if total else False, unit_scale=True) as bar:
            # The others go on if one fails: what arrives now is not sent a second time.
            with ThreadPoolExecutor(_CONNECTIONS) as pool:
                sent = [pool.submit(retry, partial(self._send_blob, names[key], addresses, bar)) for key in lacking]
            for blob in sent:
                blob.result()

    def commit(self, message: str, deleted: Sequence[str]) -> None:
        """Commit every file, and delete others, in one commit.

        Args:
            message: Its message.
            deleted: Paths of the files to delete.

        Raises:
            ModelFolderError: If a file changed; nothing is committed then.
        """
        operations = [self._create_operation(name) for name in self.states]
        operations += [_operation("delete", path, "normal", 0) for path in deleted]
        check_unchanged(self.folder, self.states)
        create_commit = self.api.legacy.create_commit
        retry(partial(create_commit, self.repo_id, "model", operations, message, revision=self.revision))

    def _find_addresses(self, digests: Sequence[str]) -> dict[str, str]:
        """Return the address for each blob that the hub lacks, by digest."""
        from modelscope_hub.constants import UPLOAD_BLOB_VALIDATION_BATCH_MAX_OBJECTS as BATCH_SIZE

        sizes = {state.sha256: state.size for state in self.states.values()}
        found: dict[str, str] = {}
        for start in range(0, len(digests), BATCH_SIZE):
            objects = [{"oid": digest, "size": sizes[digest]} for digest in digests[start : start + BATCH_SIZE]]
            answer = retry(partial(self.api.legacy.validate_blobs, self.repo_id, "model", objects))
            found |= {digest: address for digest, address in answer.items() if address is not None}
        return found

    def _send_blob(self, name: str, addresses: dict[str, str], bar: tqdm[Any]) -> None:
        state = self.states[name]
        check_unchanged(self.folder, {name: state})
        if state.sha256 not in addresses:
            # A second attempt: the address may have expired, or the blob may have arrived after all.
            addresses |= self._find_addresses([state.sha256])
        address = addresses.pop(state.sha256, None)
        if address is None:
            return
        with open(self.folder / name, "rb") as stream:
            blob = _Blob(stream, bar.update)
            try:
                self.api.legacy.upload_blob(address, blob, state.size)
            except Exception:
                check_unchanged(self.folder, {name: state})
                bar.update(-blob.sent)
                raise

    def _create_operation(self, name: str) -> dict[str, Any]:
        state = self.states[name]
        if _is_blob(name, state.size):
            return _operation("create", name, "lfs", state.size) | {"sha256": state.sha256}
        try:
            content = (self.folder / name).read_bytes()
        except OSError:
            raise changed_file_error(self.folder, name) from None
        if hashlib.sha256(content).hexdigest() != state.sha256:
            raise changed_file_error(self.folder, name)
        content_fields = {"content": base64.b64encode(content).decode(), "encoding": "base64"}
        return _operation("create", name, "normal", state.size) | content_fields


class _Blob:
    """The content of a file for a request whose headers give the length; an open file would add it a second time."""

    def __init__(self, stream: IO[bytes], report: Callable[[int], Any]) -> None:
        self._stream = stream
        self._report = report
        self.sent = 0

    def read(self, size: int = -1) -> bytes:
        block = self._stream.read(BLOCK_SIZE if size < 0 else min(size, BLOCK_SIZE))
        self.sent += len(block)
        self._report(len(block))
        return block


def _is_blob(name: str, size: int) -> bool:
    """True if the hub client's rules want a file as a blob of its own, not within the commit."""
    from modelscope_hub import constants

    path = PurePosixPath(name)
    if path.name.upper() in constants.UPLOAD_INLINE_METADATA_PATHS:
        return False
    return size > constants.UPLOAD_LFS_FORCE_THRESHOLD_BYTES or path.suffix.lower() in constants.MODEL_LFS_SUFFIX


def _operation(action: str, path: str, kind: str, size: int) -> dict[str, Any]:
    empty = {"sha256": "", "content": "", "encoding": ""}
    return {"action": action, "path": path, "type": kind, "size": size, **empty}
