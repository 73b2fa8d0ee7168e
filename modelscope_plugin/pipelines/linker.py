"""Mentions to entities of a knowledge base, without ModelScope."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from modelscope_plugin.data.records import Document, Mention
from modelscope_plugin.encoding.encoder import EntityEncoder
from modelscope_plugin.errors import InputError, MissingFileError
from modelscope_plugin.index.entity_index import Candidate, EntityIndex
from modelscope_plugin.models.location import resolve_model
from modelscope_plugin.models.model_folder import INDEX_FOLDER

DEFAULT_TOP_K = 10


class EntityLinker:
    """Links mentions to the entities of an index.

    Args:
        encoder: The dual encoder.
        index: Its index of the knowledge base.

    Raises:
        IndexMismatchError: If the index was built with another model.
    """

    def __init__(self, encoder: EntityEncoder, index: EntityIndex) -> None:
        index.check_model(encoder.fingerprint, encoder.name)
        self.encoder = encoder
        self.index = index

    @classmethod
    def from_pretrained(cls, model: str | Path | None, index: str | Path | None = None, **loading: Any) -> EntityLinker:
        """Open an index and the model it was built with.

        Args:
            model: Folder or hub id; None for the model that the index names.
            index: Folder of the index; None for the one that a published model brings along.
            **loading: How to load the model: ``device``, ``max_length``, ``backend`` and the other keywords of
                `EntityEncoder.from_pretrained`.

        Returns:
            The linker.

        Raises:
            MissingFileError: If there is no such model or index.
            InputError: If the model brings no index along, or the index does not name its model.
            IndexMismatchError: If they do not belong together.
        """
        if index is None:
            index = find_index(model)
        opened = EntityIndex.load(index)
        if model is None and not opened.model:
            raise InputError(f"the index {index} does not name its model; give the model")
        try:
            encoder = EntityEncoder.from_pretrained(model or opened.model, **loading)
        except MissingFileError as error:
            if model is not None:
                raise
            raise MissingFileError(f"the index {index} names its model, but {error}; give the model") from None
        return cls(encoder, opened)

    def link(
        self,
        mentions: Sequence[str | Mention],
        *,
        top_k: int = DEFAULT_TOP_K,
        batch_size: int | None = None,
        show_progress_bar: bool | None = False,
    ) -> list[list[Candidate]]:
        """Find the candidates of mentions.

        Args:
            mentions: `Mention` objects or texts with a marked mention.
            top_k: Candidates per mention.
            batch_size: Mentions in one forward pass; by default as many as suit the device.
            show_progress_bar: True, False, or None for a bar on a terminal only.

        Returns:
            For each mention its candidates, best first.
        """
        vectors = self.encoder.encode_query(mentions, batch_size=batch_size, show_progress_bar=show_progress_bar)
        return self.index.search(vectors, top_k)

    def link_documents(self, documents: Iterable[Document], **options: Any) -> list[dict[str, Any]]:
        """Link all mentions of texts.

        Args:
            documents: The texts.
            **options: Options of `link`.

        Returns:
            For each text ``{"text": ..., "mentions": [{"mention", "start", "end", "candidates"}, ...]}``,
            candidates as dicts with ``id``, ``name``, ``score`` and ``rank``; ``text_id`` where there is one.
        """
        documents = list(documents)
        candidates = iter(self.link([mention for document in documents for mention in document.mentions], **options))
        return [_linked(document, [next(candidates) for _ in document.mentions]) for document in documents]


def find_index(model: str | Path | None, revision: str | None = None) -> Path:
    """Find the index that a published model brings along.

    Args:
        model: A model folder or a hub id.
        revision: Branch or tag of a hub model.

    Returns:
        The folder of the index.

    Raises:
        InputError: If there is no model, or no index in its folder.
        MissingFileError: If there is no such model.
    """
    folder = None if model is None else resolve_model(model, revision)
    if folder is None or not (folder / INDEX_FOLDER).is_dir():
        where = "" if folder is None else f", and {folder} brings none along"
        raise InputError(
            f"no index{where}; give index=FOLDER, made with: modelscope entity index KB --model DIR --out FOLDER"
        )
    return folder / INDEX_FOLDER


def _linked(document: Document, candidates: Iterable[list[Candidate]]) -> dict[str, Any]:
    linked: dict[str, Any] = {"text_id": document.text_id} if document.text_id else {}
    linked["text"] = document.text
    linked["mentions"] = [
        {
            "mention": mention.surface,
            "start": mention.start,
            "end": mention.end,
            "candidates": [candidate._asdict() for candidate in found],
        }
        for mention, found in zip(document.mentions, candidates, strict=True)
    ]
    return linked
