"""The parts of an index in its folder: vectors, entities, views, names, and the manifest of them all."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from modelscope_plugin.errors import IndexFolderError, PluginError
from modelscope_plugin.retrieval.dense.faiss.store import TUNING_FILES, FaissStore
from modelscope_plugin.retrieval.dense.faiss.vector_matrix import VECTORS_FILE
from modelscope_plugin.retrieval.dense.store import VectorStore
from modelscope_plugin.retrieval.dense.views.table import VIEW_FILES, ViewTable
from modelscope_plugin.retrieval.knowledge_base import KnowledgeBase
from modelscope_plugin.retrieval.knowledge_base.entity_records import ENTITY_FILES
from modelscope_plugin.retrieval.lexical.lexicon import LEXICON_FILES, Lexicon
from modelscope_plugin.retrieval.manifest import (
    MANIFEST_FILE,
    Manifest,
    check_files,
    read_manifest,
    verify_files,
    write_manifest,
)
from modelscope_plugin.storage.atomic_write import check_output_folder, recover_folder, replace_folder

_FILES = (VECTORS_FILE, *ENTITY_FILES)
_OPTIONAL_FILES = (*TUNING_FILES, *LEXICON_FILES, *VIEW_FILES)
# Reading these to check them would take as long as reading the whole index.
_LARGE_FILES = (VECTORS_FILE, ENTITY_FILES[0], VIEW_FILES[0], *LEXICON_FILES)

QUICK_BYTES = 256 << 20
"""Up to so many bytes the checksums of an index are checked whenever it is opened; at 700 MB a second."""

# How often an index is opened that is replaced at the same time.
_ATTEMPTS = 20

FolderState: TypeAlias = tuple[object, ...]


@dataclass(frozen=True)
class IndexParts:
    """What an index consists of.

    Attributes:
        knowledge_base: The entities.
        lexicon: Their names.
        store: Their vectors.
        views: Which view of its entity each vector is.
    """

    knowledge_base: KnowledgeBase
    lexicon: Lexicon
    store: VectorStore
    views: ViewTable


def write_index(folder: Path, manifest: Manifest, parts: IndexParts) -> None:
    """Write an index into a folder, whole or not at all; an earlier one in it is replaced.

    Args:
        folder: The folder.
        manifest: Its manifest without version, time and files.
        parts: The parts.

    Raises:
        InputError: If the folder holds something other than an index.
    """
    check_output_folder(folder, MANIFEST_FILE)
    with replace_folder(folder) as draft:
        files = [part.save(draft) for part in (parts.knowledge_base, parts.store, parts.lexicon, parts.views)]
        write_manifest(draft, manifest, [name for names in files for name in names])


def read_index(folder: Path, *, verify: bool | None) -> tuple[Manifest, IndexParts, FolderState]:
    """Open an index; vectors and entities stay on disk, memory-mapped.

    All files are opened here, and are of one state of the folder: where it is replaced meanwhile they are opened again.

    Args:
        folder: The folder.
        verify: Whether to check the checksums of the large files too, which reads all of them; None for doing so
            where it takes less than a second (`QUICK_BYTES`).

    Returns:
        The manifest, the parts, and the state of the folder that they are of.

    Raises:
        MissingFileError: If there is no index in the folder.
        IndexFolderError: If a file of it is missing or damaged, or was written by a newer version.
    """
    for _ in range(_ATTEMPTS):
        recover_folder(folder)
        state = read_folder_state(folder)
        try:
            manifest, parts = _open_parts(folder, verify)
        except (PluginError, OSError):
            if state is not None and state == read_folder_state(folder):
                raise
        else:
            if state is not None and state == read_folder_state(folder):
                return manifest, parts, state
    if state is None:
        read_manifest(folder, _FILES, _OPTIONAL_FILES)
    raise IndexFolderError(f"{folder} is replaced again and again while it is read; try again later")


def read_folder_state(folder: Path) -> FolderState | None:
    """What tells an index from another one that is written into its folder later; None where there is none."""
    try:
        statuses = folder.stat(), (folder / MANIFEST_FILE).stat()
    except OSError:
        return None
    return tuple((status.st_dev, status.st_ino) for status in statuses), statuses[1].st_mtime_ns


def _open_parts(folder: Path, verify: bool | None) -> tuple[Manifest, IndexParts]:
    manifest = read_manifest(folder, _FILES, _OPTIONAL_FILES)
    check_files(folder, manifest)
    if verify is None:
        verify = sum((folder / name).stat().st_size for name in manifest.files) <= QUICK_BYTES
    # What FAISS reads is always among them: it does not survive every damaged file.
    verify_files(folder, manifest, [name for name in manifest.files if verify or name not in _LARGE_FILES])
    entities = manifest.entities
    try:
        knowledge_base = KnowledgeBase.open(folder)
        if len(knowledge_base) != entities:
            raise ValueError(f"its entities do not match {MANIFEST_FILE}")
        views = ViewTable.open(folder, entities) if VIEW_FILES[0] in manifest.files else ViewTable()
        store = FaissStore.open(
            folder,
            manifest.search,
            manifest.dimension,
            knowledge_base.id_table,
            views.counts(entities),
            views.settings.sum_temperature,
        )
        lexicon = Lexicon(knowledge_base, [folder / name for name in LEXICON_FILES if name in manifest.files])
    except Exception as error:  # whatever numpy and json say of damaged bytes, a syntax error among it
        raise IndexFolderError(f"{folder} is damaged ({error}); build the index again") from None
    return manifest, IndexParts(knowledge_base, lexicon, store, views)
