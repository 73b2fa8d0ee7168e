"""export.json: what an exported folder says of itself."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from modelscope_plugin.errors import InputError, ModelFolderError
from modelscope_plugin.files import write_json
from modelscope_plugin.version import __version__

EXPORT_FILE = "export.json"
"""File of an exported folder that names the others, so that a later export may replace them."""

CARD_FILE = "README.md"
"""The model card."""


@dataclass(frozen=True)
class ExportRecord:
    """What export.json says of the folder it stands in.

    Attributes:
        modelscope_plugin: Version of this package that wrote it.
        name: The name of the model in its card.
        license: Its licence.
        fingerprint: Fingerprint of the model.
        standalone: Whether the folder carries the code it needs.
        files: Paths of the other files in it.
    """

    modelscope_plugin: str
    name: str
    license: str
    fingerprint: str
    standalone: bool
    files: list[str]


def write_export_record(folder: Path, name: str, license: str, fingerprint: str, standalone: bool) -> None:
    """Write the record of a folder whose other files are all there."""
    record = ExportRecord(__version__, name, license, fingerprint, standalone, list(file_sizes(folder)))
    write_json(folder / EXPORT_FILE, asdict(record))


def read_export(folder: Path) -> tuple[ExportRecord, dict[str, int]] | None:
    """Read what an exported folder says of itself.

    Args:
        folder: Any model folder.

    Returns:
        Its record, and the size in bytes of every file by its path in the folder; None where the folder is no export.

    Raises:
        ModelFolderError: If export.json is damaged or a file that it names is missing.
        InputError: If there is something in the folder that the export did not write, or a link.
    """
    if not (folder / EXPORT_FILE).is_file():
        return None
    try:
        record = ExportRecord(**json.loads((folder / EXPORT_FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        raise ModelFolderError(f"{folder / EXPORT_FILE} is damaged; export the model again") from None
    if link := next((path for path in sorted(folder.rglob("*")) if path.is_symlink()), None):
        raise InputError(f"{link} is a link; a folder to publish holds nothing but files")
    files = file_sizes(folder)
    if missing := sorted(set(record.files) - files.keys()):
        raise ModelFolderError(f"{folder} lacks {missing[0]}, which the export wrote; export the model again")
    if foreign := sorted(files.keys() - {EXPORT_FILE, *record.files}):
        raise InputError(f"{folder / foreign[0]} is not of the export; take it out of the folder")
    return record, files


def file_sizes(folder: Path) -> dict[str, int]:
    """Size in bytes of every file in a folder, by its path in it."""
    return {
        path.relative_to(folder).as_posix(): path.stat().st_size for path in sorted(folder.rglob("*")) if path.is_file()
    }
