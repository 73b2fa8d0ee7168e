"""The parts of an index in its folder: vectors, entities, views, names, and the manifest of them all."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from modelscope_plugin.data.records import Entity
from modelscope_plugin.errors import IndexFolderError
from modelscope_plugin.retrieval.dense.faiss.searched_vectors import TUNING_FILES, SearchedVectors
from modelscope_plugin.retrieval.dense.faiss.stored_vectors import VECTORS_FILE
from modelscope_plugin.retrieval.dense.views.table import VIEW_FILES, ViewTable
from modelscope_plugin.retrieval.knowledge_base.entity_store import STORE_FILES, StoredEntities, write_entities
from modelscope_plugin.retrieval.lexical.lexicon import LEXICON_FILES, Lexicon
from modelscope_plugin.retrieval.manifest import MANIFEST_FILE, Manifest, check_files, read_manifest, write_manifest
from modelscope_plugin.storage.files import recover_folder

_FILES = (VECTORS_FILE, *STORE_FILES)
_OPTIONAL_FILES = (*TUNING_FILES, *LEXICON_FILES, *VIEW_FILES)
# Reading these to check them would take as long as reading the whole index.
_LARGE_FILES = (VECTORS_FILE, STORE_FILES[0], VIEW_FILES[0], *LEXICON_FILES)


@dataclass(frozen=True)
class IndexParts:
    """What `read_parts` finds in a folder.

    Attributes:
        manifest: The manifest.
        entities: The entities, on disk.
        vectors: Their vectors and how they are searched, memory-mapped.
        views: The views where entities have several vectors, else None.
        names: The files of the names, by name.
    """

    manifest: Manifest
    entities: StoredEntities
    vectors: SearchedVectors
    views: ViewTable | None
    names: dict[str, Path]


def write_parts(
    folder: Path,
    manifest: Manifest,
    entities: Iterable[Entity],
    vectors: SearchedVectors,
    views: ViewTable | None,
    lexicon: Lexicon,
) -> None:
    """Write the parts of an index into an empty folder, and the manifest with their checksums."""
    write_entities(folder, entities)
    written = [*STORE_FILES, *vectors.save(folder), *lexicon.save(folder)]
    if views is not None:
        written += views.save(folder)
    write_manifest(folder, manifest, written)


def read_parts(folder: Path, *, verify: bool) -> IndexParts:
    """Open the parts of an index.

    Args:
        folder: The folder.
        verify: Whether to check the checksums of the large files too, which reads all of them.

    Raises:
        MissingFileError: If there is no index in the folder.
        IndexFolderError: If a file of it is missing or damaged, or was written by a newer version.
    """
    recover_folder(folder)
    manifest = read_manifest(folder, _FILES, _OPTIONAL_FILES)
    check_files(folder, manifest, unread=() if verify else _LARGE_FILES)
    try:
        entities = StoredEntities(folder)
        views = ViewTable.load(folder) if VIEW_FILES[0] in manifest.files else None
        rows, owned = (manifest.entities,) * 2 if views is None else (len(views), views.entities)
        if not len(entities) == manifest.entities == owned:
            raise ValueError(f"its entities do not match {MANIFEST_FILE}")
        vectors = SearchedVectors.load(folder, manifest.search, rows, manifest.dimension)
    except Exception as error:  # whatever numpy and json say of damaged bytes, a syntax error among it
        raise IndexFolderError(f"{folder} is damaged ({error}); build the index again") from None
    names = {name: folder / name for name in LEXICON_FILES if name in manifest.files}
    return IndexParts(manifest, entities, vectors, views, names)
