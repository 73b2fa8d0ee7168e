"""export.json: what an exported folder says of itself."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from modelscope_plugin.errors import InputError, ModelFolderError
from modelscope_plugin.storage.digests import file_sha256
from modelscope_plugin.storage.files import write_json
from modelscope_plugin.version import __version__

EXPORT_FILE = "export.json"
"""File of an exported folder that names the others, so that a later export may replace them."""

CARD_FILE = "README.md"
"""The model card, the one file of an exported folder that is meant to be edited."""


@dataclass(frozen=True)
class ExportRecord:
    """What export.json says of the folder it stands in.

    Attributes:
        modelscope_plugin: Version of this package that wrote it.
        name: The name of the model in its card.
        license: Its licence; None where nobody has said it.
        fingerprint: Fingerprint of the model.
        standalone: Whether the folder carries the code it needs.
        files: The sha256 of every other file, by its path; None for the card.
    """

    modelscope_plugin: str
    name: str
    license: str | None
    fingerprint: str
    standalone: bool
    files: dict[str, str | None]


def write_export_record(folder: Path, name: str, license: str | None, fingerprint: str, standalone: bool) -> None:
    """Write the record of a folder whose other files are all there."""
    files = {path: None if path == CARD_FILE else file_sha256(folder / path) for path in file_sizes(folder)}
    files.pop(EXPORT_FILE, None)
    write_json(folder / EXPORT_FILE, asdict(ExportRecord(__version__, name, license, fingerprint, standalone, files)))


def read_export(folder: Path) -> ExportRecord | None:
    """Read what an exported folder says of itself, and check that it is still what was exported.

    Args:
        folder: Any model folder.

    Returns:
        Its record; None where the folder is no export.

    Raises:
        ModelFolderError: If export.json is damaged or of another version, or a file that it names is missing or was
            changed.
        InputError: If there is something in the folder that the export did not write, or a link.
    """
    if not (folder / EXPORT_FILE).is_file():
        return None
    record = _parse(folder / EXPORT_FILE)
    if link := next((path for path in sorted(folder.rglob("*")) if path.is_symlink()), None):
        raise InputError(f"{link} is a link; a folder to publish holds nothing but files")
    files = file_sizes(folder)
    if missing := sorted(record.files.keys() - files.keys()):
        raise ModelFolderError(f"{folder} lacks {missing[0]}, which the export wrote; export the model again")
    if foreign := sorted(files.keys() - record.files.keys() - {EXPORT_FILE}):
        raise InputError(f"{folder / foreign[0]} is not of the export; take it out of the folder")
    for path, digest in record.files.items():
        if path != CARD_FILE and file_sha256(folder / path) != digest:
            raise ModelFolderError(
                f"{folder / path} is not as it was exported; only {CARD_FILE} is to be edited, export the model again"
            )
    return record


def file_sizes(folder: Path) -> dict[str, int]:
    """Size in bytes of every file in a folder, by its path in it."""
    return {
        path.relative_to(folder).as_posix(): path.stat().st_size for path in sorted(folder.rglob("*")) if path.is_file()
    }


def _parse(file: Path) -> ExportRecord:
    try:
        values: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        record = ExportRecord(**values)
        if isinstance(record.files, dict) and isinstance(record.name, str):
            return record
    except (OSError, ValueError, TypeError):
        pass
    raise ModelFolderError(f"{file} is damaged, or of another version of this package; export the model again")
