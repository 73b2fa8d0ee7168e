"""Publishes a model: export, check, upload."""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from modelscope_plugin.encoding.encoder import EntityEncoder
from modelscope_plugin.errors import UsageError
from modelscope_plugin.modeling.location import is_hub_id, resolve_model
from modelscope_plugin.publishing.card.metadata import read_license
from modelscope_plugin.publishing.check.check_folder import check_folder
from modelscope_plugin.publishing.export.export_model import check_exportable, export_model
from modelscope_plugin.publishing.export.export_record import CARD_FILE, EXPORT_FILE, read_export_record
from modelscope_plugin.publishing.upload.file_states import read_file_states
from modelscope_plugin.publishing.upload.upload import check_upload, upload_folder


@dataclass(frozen=True)
class PublishResult:
    """Result of `publish_model`.

    Attributes:
        repo_id: The model on the hub.
        url: Its page; empty if nothing was uploaded.
        files: Size in bytes of every file, by its path in the model.
        deleted: Files of an earlier export that were deleted on the hub.
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
            which is uploaded as it is; the options of an export, the last six, cannot be given for it.
        repo_id: The model on the hub, ``owner/name``; created if it does not exist.
        private: Whether a new model is visible to its owner only.
        revision: Branch to upload to; by default the hub's.
        token: Access token of the hub; by default that of the environment or of the saved login.
        dry_run: Do everything but ask the hub and upload.
        standalone: Whether the exported folder carries the code it needs, by default yes; see `export_model`.
        index: Index to include; see `export_model`.
        onnx: Whether to include ONNX files, by default no; see `export_model`.
        evaluation: Figures for the card; see `export_model`.
        language: Language of the card, by default ``zh``.
        license: Licence of the model; required if the model's own card names none.

    Returns:
        What was uploaded, or would be.

    Raises:
        UsageError: If ``repo_id`` is not a hub id, the licence is not known, or a folder that is an export was exported
            with another name, or is given options of the export.
        MissingFileError: If there is no such folder or index.
        InputError: If the model is a re-ranker, or the exported folder holds a file that the export did not write.
        FolderCheckError: If the exported folder does not open as its card promises.
        HubError: If the hub refuses the upload or does not answer.
        ModelFolderError: If a file of the model is missing, damaged or was changed.
    """
    if not is_hub_id(repo_id):
        raise UsageError(f"{repo_id!r} is not a hub id; it has the form owner/name")
    folder = resolve_model(Path(folder))
    check_exportable(folder)
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
        # A refusal of the hub is known before the long work begins.
        check_upload(repo_id, private=private, revision=revision, token=token)
    with tempfile.TemporaryDirectory(prefix="modelscope_plugin.publish.") as work:
        exported = folder
        if record is None:
            exported = Path(work) / repo_id.replace("/", "__")
            export_model(folder, exported, name=repo_id, **{"standalone": True, **given})
            record = read_export_record(exported)
            assert record is not None
        # Exactly the files that are checked are uploaded: one that changes from now on stops the upload.
        states = read_file_states(exported, [*record.files, EXPORT_FILE])
        checked = check_folder(exported, record, EntityEncoder.from_pretrained(folder, device="cpu"))
        url, deleted = "", list[str]()
        if not dry_run:
            url, deleted = upload_folder(
                exported, states, repo_id, private=private, license=record.license, revision=revision, token=token
            )
    return PublishResult(repo_id, url, {name: state.size for name, state in states.items()}, deleted, checked)
