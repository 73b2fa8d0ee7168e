"""The manifest of an index folder: what it holds, of which model, and the checksums of its files."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from modelscope_plugin.errors import IndexFolderError, MissingFileError
from modelscope_plugin.retrieval.fitted import Fitted
from modelscope_plugin.retrieval.quality import Quality
from modelscope_plugin.storage.atomic_write import write_json
from modelscope_plugin.storage.inventory import read_file_state

MANIFEST_FILE = "manifest.json"
# Version 2 has names, what was fitted, and how the index is searched; a folder of version 1 opens without them.
_VERSION = 2
_READABLE = (1, _VERSION)


@dataclass(frozen=True)
class Manifest:
    """What an index folder holds.

    Attributes:
        version: Version of the layout.
        entities: Number of entities.
        dimension: Size of the vectors.
        model: Folder or hub id of the model that made them.
        fingerprint: Its fingerprint.
        max_length: Tokens of the window of the entity texts, 0 where it is not known.
        created: Time of writing, UTC.
        files: Size (``bytes``) and ``sha256`` of every other file.
        search: How it is searched, with the recall measured (`Tuning`); empty for exact search.
        fitted: What was fitted for this model and knowledge base on labelled mentions.
        quality: How good vectors and names are, measured on the index itself; None where it was not measured.
    """

    version: int
    entities: int
    dimension: int
    model: str
    fingerprint: str
    max_length: int
    created: str
    files: dict[str, dict[str, Any]]
    search: dict[str, Any] = field(default_factory=dict)
    fitted: Fitted = field(default_factory=Fitted)
    quality: Quality | None = None


def write_manifest(folder: Path, manifest: Manifest, files: Iterable[str]) -> None:
    """Write the manifest of a folder whose files are all there, with their sizes and checksums."""
    records = {name: read_file_state(folder / name).to_record() for name in files}
    created = datetime.now(timezone.utc).isoformat(timespec="seconds")
    manifest = replace(manifest, version=_VERSION, created=created, files=records)
    quality = {} if manifest.quality is None else manifest.quality.to_record()
    write_json(folder / MANIFEST_FILE, asdict(manifest) | {"fitted": manifest.fitted.to_record(), "quality": quality})


def write_fitted(folder: Path, fitted: Fitted) -> None:
    """Change what was fitted in the manifest of a folder, whose other files stay as they are."""
    path = folder / MANIFEST_FILE
    write_json(path, {**json.loads(path.read_text(encoding="utf-8")), "fitted": fitted.to_record()})


def read_manifest(folder: Path, files: Iterable[str], optional: Iterable[str] = ()) -> Manifest:
    """Read a manifest.

    Args:
        folder: The index folder.
        files: Names of the files that a sound index has.
        optional: Names of those that it may have.

    Returns:
        The manifest.

    Raises:
        MissingFileError: If there is none.
        IndexFolderError: If it is damaged or of another version.
    """
    path = folder / MANIFEST_FILE
    if not path.is_file():
        raise MissingFileError(
            f"there is no index in {folder} (no {MANIFEST_FILE}); build one with: modelscope entity index"
        )
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        version = values["version"]
        fault = "" if version not in _READABLE else _find_fault(values, set(files), set(optional))
        quality = values.get("quality") if version in _READABLE else None
        values["quality"] = Quality.from_record(quality) if quality else None
    except KeyError as error:
        fault = f"no {error}"
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        fault = str(error)
    if fault:
        raise IndexFolderError(f"{path} is damaged ({fault}); build the index again in another folder")
    if version not in _READABLE:
        raise IndexFolderError(f"{path} is of version {version}, this package reads version {_VERSION}; build it again")
    values["fitted"] = Fitted.from_record(values.get("fitted", {}))
    return Manifest(**{name: values[name] for name in Manifest.__dataclass_fields__ if name in values})


def check_files(folder: Path, manifest: Manifest) -> None:
    """Raise `IndexFolderError` if a file of an index is missing or has another size."""
    for name, record in manifest.files.items():
        path = folder / name
        if not path.is_file():
            raise IndexFolderError(f"{path} is missing; build the index again")
        size = path.stat().st_size
        if size != record["bytes"]:
            raise IndexFolderError(
                f"{path} is damaged: {size} bytes instead of {record['bytes']}; build the index again"
            )


def verify_files(folder: Path, manifest: Manifest, names: Iterable[str]) -> None:
    """Raise `IndexFolderError` if the checksum of one of these files is another."""
    for name in names:
        if read_file_state(folder / name).to_record() != manifest.files[name]:
            raise IndexFolderError(f"{folder / name} is damaged: its checksum is another; build the index again")


def _find_fault(values: dict[str, Any], files: set[str], optional: set[str]) -> str:
    """What is wrong with a manifest of this version; nothing where it is sound."""
    for key in ("model", "fingerprint", "created"):
        if not isinstance(values[key], str):
            return f"{key} is not a text"
    for key in ("entities", "dimension", "max_length"):
        if type(values[key]) is not int or values[key] < 0:
            return f"{key} is not a whole number from 0 on"
    if not isinstance(values.get("search", {}), dict):
        return "search is not an object"
    if not isinstance(values.get("fitted", {}), dict):
        return "fitted is not an object"
    if not files <= set(values["files"]) <= files | optional:
        return "its list of files is not that of an index"
    if any(set(record) != {"bytes", "sha256"} for record in values["files"].values()):
        return "files lack sizes or checksums"
    return ""
