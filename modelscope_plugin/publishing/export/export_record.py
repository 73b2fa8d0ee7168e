"""export.json, which records the files of an exported folder, its name, licence and model."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NoReturn

from modelscope_plugin.config.records import read_record
from modelscope_plugin.errors import InputError, ModelFolderError
from modelscope_plugin.storage.atomic_write import check_output_folder, write_json
from modelscope_plugin.storage.inventory import find_difference, list_files, read_file_state
from modelscope_plugin.text import is_line, printable
from modelscope_plugin.version import __version__

EXPORT_FILE = "export.json"
"""File of an exported folder that names all others, so that a later export can replace them."""

CARD_FILE = "README.md"
"""The model card, the only file of an exported folder that may be edited."""


@dataclass(frozen=True)
class ExportRecord:
    """Content of export.json.

    Attributes:
        modelscope_plugin: Version of this package that wrote it.
        name: The name of the model in its card.
        license: Its licence; None if it is not known.
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
    """Write the record of a folder that holds all its other files."""
    files = {
        path: None if path == CARD_FILE else read_file_state(folder / path).sha256
        for path in list_files(folder)
        if path != EXPORT_FILE
    }
    write_json(folder / EXPORT_FILE, asdict(ExportRecord(__version__, name, license, fingerprint, standalone, files)))


def read_export_record(folder: Path) -> ExportRecord | None:
    """Read the record of an exported folder, and check that its files are still those that were exported.

    Args:
        folder: Any model folder.

    Returns:
        Its record; None if the folder is not an export.

    Raises:
        ModelFolderError: If export.json is damaged or of another version, or a file that it names is missing or was
            changed.
        InputError: If the folder holds a file that the export did not write, or a link.
    """
    if not (folder / EXPORT_FILE).is_file():
        return None
    record = _parse(folder / EXPORT_FILE)
    if difference := find_difference(folder, record.files | {EXPORT_FILE: None}):
        _refuse(folder, *difference)
    return record


def check_replaceable(folder: Path) -> None:
    """Check that an export may be written to a path: there is nothing, or an earlier export as it was written.

    Raises:
        InputError: If the folder holds a file that its export.json does not record with this content, the card aside;
            or the path is a file or the current folder.
    """
    check_output_folder(folder, EXPORT_FILE)
    if not (folder / EXPORT_FILE).exists():
        return
    try:
        read_export_record(folder)
    except (InputError, ModelFolderError) as error:
        raise InputError(
            f"{folder} would be replaced, but is not as it was exported: {error}; move it away, or name another folder"
        ) from None


def _refuse(folder: Path, name: str, difference: str) -> NoReturn:
    path = folder / printable(name)
    if difference == "link":
        raise InputError(f"{path} is a link; a folder to publish contains only files")
    if difference == "missing":
        raise ModelFolderError(f"{folder} lacks {printable(name)}, which the export wrote; export the model again")
    if difference == "unexpected":
        raise InputError(f"{path} is not part of the export; remove it from the folder")
    raise ModelFolderError(f"{path} is not as it was exported; only {CARD_FILE} may be edited, export the model again")


def _parse(file: Path) -> ExportRecord:
    try:
        record = read_record(ExportRecord, file)
        _check_texts(record)
    except InputError as error:
        raise ModelFolderError(
            f"{file} is damaged, or of another version of this package ({error}); export the model again"
        ) from None
    return record


def _check_texts(record: ExportRecord) -> None:
    texts = {"name": record.name, "license": record.license or "none", "fingerprint": record.fingerprint}
    texts |= {f"files.{path}": digest or "none" for path, digest in record.files.items()}
    for name, text in texts.items():
        if not is_line(text):
            raise InputError(f"{name} must be one line of text")
    if missing := [path for path, digest in record.files.items() if digest is None and path != CARD_FILE]:
        raise InputError(f"files.{missing[0]} must be a checksum")
