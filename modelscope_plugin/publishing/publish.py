"""Publishing: export, check, upload."""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from modelscope_plugin.encoding.encoder import EntityEncoder
from modelscope_plugin.errors import UsageError
from modelscope_plugin.modeling.location import is_hub_id
from modelscope_plugin.publishing.card.head import read_license
from modelscope_plugin.publishing.check.check_folder import check_folder
from modelscope_plugin.publishing.export.export_model import ExportOptions, export_with_options
from modelscope_plugin.publishing.export.export_record import (
    CARD_FILE,
    EXPORT_FILE,
    ExportRecord,
    read_export_record,
)
from modelscope_plugin.publishing.upload.file_states import read_file_states
from modelscope_plugin.publishing.upload.upload import check_upload, upload_folder
from modelscope_plugin.storage.inventory import list_files


@dataclass(frozen=True)
class PublishResult:
    """What `publish_model` did.

    Attributes:
        repo_id: The model on the hub.
        url: Its page; empty where nothing went up.
        files: Size in bytes of every file, by its path in the model.
        deleted: Files of an earlier export that are not in the model any more.
        checked: For each way of opening the folder, the largest difference to the vectors of the source model.
    """

    repo_id: str
    url: str
    files: dict[str, int]
    deleted: list[str]
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
    standalone: bool | None = None,
    index: str | Path | None = None,
    onnx: bool | None = None,
    evaluation: str | Path | None = None,
    language: str | None = None,
    license: str | None = None,
) -> PublishResult:
    """Export a model, check the exported folder, and upload it to the ModelScope hub.

    The check runs the code that a standalone folder carries; publish exported folders of others only if you trust them.
    Nothing in README.md is run.

    Args:
        folder: A model folder, which is exported first, or a folder that `export_model` wrote for this ``repo_id``,
            which goes up as it stands and is given none of the choices of an export, the last six.
        repo_id: The model on the hub, ``owner/name``; made where it does not exist.
        private: Whether a new model is visible to its owner only.
        revision: Branch to upload to; by default the hub's.
        token: Access token of the hub; by default that of the environment or of the saved login.
        dry_run: Do all that can be done without the hub.
        standalone: Whether the exported folder carries the code it needs, by default yes; see `export_model`.
        index: Index to go along; see `export_model`.
        onnx: Whether ONNX files go along, by default no; see `export_model`.
        evaluation: Figures for the card; see `export_model`.
        language: Language of the card, by default ``zh``.
        license: Licence of the model; has to be given where the model's own card names none.

    Returns:
        What went up, or would.

    Raises:
        UsageError: If ``repo_id`` is no hub id, the licence is not known, or a folder that is an export was exported
            with another name, or is given choices of the export.
        InputError: If something is in the exported folder that the export did not write.
        FolderCheckError: If the exported folder does not open as its card promises.
        HubError: If the hub refuses the upload or does not answer.
        ModelFolderError: If a file of the model is missing, damaged or was changed.
    """
    if not is_hub_id(repo_id):
        raise UsageError(f"{repo_id!r} is not a hub id; it has the form owner/name")
    folder = Path(folder)
    record = read_export_record(folder)
    options = {"standalone": standalone, "index": index, "onnx": onnx, "evaluation": evaluation}
    options |= {"language": language, "license": license}
    given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    if record is not None and given:
        raise UsageError(f"{folder} is exported already; export the model again to change {', '.join(sorted(given))}")
    if record is not None and record.name != repo_id:
        raise UsageError(f"the card of {folder} loads {record.name!r}, not {repo_id!r}; export it with that name")
    if (license or read_license(folder / CARD_FILE) if record is None else record.license) is None:
        raise UsageError(f"the licence of {folder} is not known; export it with one, such as --license apache-2.0")
    if not dry_run:
        # What the hub would refuse at the end, it refuses before the work.
        check_upload(repo_id, private=private, revision=revision, token=token)
    target = {"private": private, "revision": revision, "token": token}
    if record is not None:
        return _publish(folder, folder, record, target, dry_run)
    with tempfile.TemporaryDirectory(prefix="modelscope_plugin.publish.") as work:
        exported = Path(work) / repo_id.replace("/", "__")
        export_with_options(folder, exported, ExportOptions(name=repo_id, **{"standalone": True, **given}))
        record = read_export_record(exported)
        assert record is not None
        return _publish(exported, folder, record, target, dry_run)


def _publish(folder: Path, source: Path, record: ExportRecord, target: dict[str, Any], dry_run: bool) -> PublishResult:
    """Check and upload an exported folder."""
    # Exactly the files that are checked are uploaded: one that changes from now on stops the upload.
    states = read_file_states(folder, [*record.files, EXPORT_FILE])
    checked = check_folder(folder, record, EntityEncoder.from_pretrained(source, device="cpu"))
    if dry_run:
        return PublishResult(record.name, "", list_files(folder), [], checked)
    done = upload_folder(folder, states, record.name, license=record.license, since=states, **target)
    return PublishResult(record.name, done.url, done.files, done.deleted, checked)
