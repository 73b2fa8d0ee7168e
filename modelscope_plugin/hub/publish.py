"""Publishing: export, check, upload."""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from modelscope_plugin.encoding.encoder import EntityEncoder
from modelscope_plugin.errors import InputError
from modelscope_plugin.hub.card_parts import is_hub_id
from modelscope_plugin.hub.check import check_folder
from modelscope_plugin.hub.export import export_model
from modelscope_plugin.hub.export_record import read_export
from modelscope_plugin.hub.upload import upload_folder


@dataclass(frozen=True)
class PublishResult:
    """What `publish_model` did.

    Attributes:
        repo_id: The model on the hub.
        url: Its page; empty where nothing went up.
        files: Size in bytes of every file, by its path in the model.
        checked: For each way of opening the folder, the largest difference to the vectors of the source model.
    """

    repo_id: str
    url: str
    files: dict[str, int]
    checked: dict[str, float]

    def to_record(self) -> dict[str, Any]:
        """The result as a JSON object."""
        return asdict(self)


def publish_model(
    folder: str | Path,
    repo_id: str,
    *,
    private: bool = False,
    revision: str | None = None,
    token: str | None = None,
    dry_run: bool = False,
    **export_options: Any,
) -> PublishResult:
    """Export a model, check the exported folder, and upload it to the ModelScope hub.

    Args:
        folder: A model folder, which is exported first (standalone unless ``standalone=False``), or a folder that
            `export_model` wrote for this ``repo_id``, which goes up as it stands.
        repo_id: The model on the hub, ``owner/name``; made where it does not exist.
        private: Whether a new model is visible to its owner only.
        revision: Branch to upload to; by default the hub's.
        token: Access token of the hub; by default that of the environment or of the saved login.
        dry_run: Do all but the upload.
        **export_options: ``standalone``, ``index``, ``evaluation``, ``language``, ``license``, as for `export_model`.

    Returns:
        What went up, or would.

    Raises:
        InputError: If ``repo_id`` is no hub id, or the folder is an export and options, files or its name do not fit.
        FolderCheckError: If the exported folder does not open as its card promises.
        HubError: If the hub refuses the upload or does not answer.
        ModelFolderError: If a file of the model is missing or damaged.
    """
    if not is_hub_id(repo_id):
        raise InputError(f"repo_id={repo_id!r} is no hub id; it has the form owner/name")
    folder = Path(folder)
    if read_export(folder) is None:
        with tempfile.TemporaryDirectory() as work:
            exported = Path(work) / repo_id.replace("/", "_")
            export_model(folder, exported, name=repo_id, **{"standalone": True, **export_options})
            return _publish(exported, folder, repo_id, private, revision, token, dry_run)
    if export_options:
        raise InputError(f"{folder} is exported already; {', '.join(sorted(export_options))} is a choice of the export")
    return _publish(folder, folder, repo_id, private, revision, token, dry_run)


def _publish(
    folder: Path, source: Path, repo_id: str, private: bool, revision: str | None, token: str | None, dry_run: bool
) -> PublishResult:
    """Check and upload an exported folder."""
    found = read_export(folder)
    assert found is not None
    record, files = found
    if record.name != repo_id:
        raise InputError(f"the card of {folder} loads {record.name!r}, not {repo_id!r}; export it with that name")
    checked = check_folder(folder, record, EntityEncoder.from_pretrained(source, device="cpu"))
    if dry_run:
        return PublishResult(repo_id, "", files, checked)
    done = upload_folder(
        folder, sorted(files), repo_id, private=private, license=record.license, revision=revision, token=token
    )
    return PublishResult(repo_id, done.url, files, checked)
