"""Mentions to entities of a knowledge base, without ModelScope."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from modelscope_plugin.config.model_settings import PipelineSettings
from modelscope_plugin.config.settings import read_settings
from modelscope_plugin.data.markers import parse_marked_text
from modelscope_plugin.data.records import Document, Mention
from modelscope_plugin.encoding.encoder import EntityEncoder
from modelscope_plugin.errors import InputError, MissingFileError
from modelscope_plugin.linking.detection.detectors import Detector, make_detector, with_detected
from modelscope_plugin.linking.nil import NO_CANDIDATE, NilRule
from modelscope_plugin.modeling.location import resolve_model
from modelscope_plugin.modeling.model_folder import INDEX_FOLDER
from modelscope_plugin.retrieval.candidate import Candidate
from modelscope_plugin.retrieval.entity_index import EntityIndex
from modelscope_plugin.retrieval.retriever import Retriever

DEFAULT_TOP_K = 10


class EntityLinker:
    """Links mentions to the entities of an index.

    Args:
        encoder: The dual encoder.
        index: Its index of the knowledge base.
        retrieval: ``hybrid`` (names first, vectors and names fused), ``dense`` (vectors alone) or ``lexical`` (names
            alone); by default what ``pipeline.retrieval`` in the shipped configuration.json says.
        nil_threshold: The confidence, 0 to 1, below which a mention has no entity, in place of the one that was
            fitted for the index; 0 keeps only mentions without any candidate. Without a fitted rule no candidate is
            doubted.
        detector: Where mentions of texts that have none come from; see `make_detector`.

    Raises:
        IndexMismatchError: If the index was built with another model.
        InputError: If the retrieval is unknown, or there is a NIL threshold and no rule was fitted for the retrieval.
    """

    def __init__(
        self,
        encoder: EntityEncoder,
        index: EntityIndex,
        retrieval: str | None = None,
        nil_threshold: float | None = None,
        detector: str | Detector | None = None,
    ) -> None:
        index.check_model(encoder.fingerprint, encoder.name)
        self.encoder = encoder
        self.index = index
        self.retriever = Retriever(index, retrieval or PipelineSettings().retrieval)
        self.nil_rule = NilRule.of_index(index, self.retriever.retrieval, nil_threshold)
        self.detector = make_detector(detector, index)

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path | None,
        index: str | Path | None = None,
        *,
        retrieval: str | None = None,
        nil_threshold: float | None = None,
        detector: str | Detector | None = None,
        **loading: Any,
    ) -> EntityLinker:
        """Open an index and the model it was built with.

        Args:
            model: Folder or hub id; None for the model that the index names.
            index: Folder of the index; None for the one that a published model brings along.
            retrieval: As for the class; by default what the model's configuration.json says.
            nil_threshold: As for the class, by default from there too.
            detector: As for the class, by default from there too.
            **loading: How to load the model: ``device``, ``max_length``, ``backend`` and the other keywords of
                `EntityEncoder.from_pretrained`.

        Returns:
            The linker.

        Raises:
            MissingFileError: If there is no such model or index.
            InputError: If the model brings no index along, or the index does not name its model.
            IndexMismatchError: If they do not belong together.
        """
        encoder, opened = open_index(model, index, **loading)
        folder = resolve_model(encoder.name)
        options = read_linking_options(folder, retrieval, nil_threshold, detector)
        return cls(encoder, opened, **options)

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
        vectors = None
        if self.retriever.needs_vectors:
            vectors = self.encoder.encode_query(mentions, batch_size=batch_size, show_progress_bar=show_progress_bar)
        return self.retriever.search(vectors, [_surface(mention) for mention in mentions], top_k)

    def link_documents(self, documents: Iterable[Document], **options: Any) -> list[dict[str, Any]]:
        """Link all mentions of texts, with a detector also those of texts that have none.

        Args:
            documents: The texts.
            **options: Options of `link`.

        Returns:
            For each text ``{"text": ..., "mentions": [{"mention", "start", "end", "candidates"}, ...]}``,
            with ``nil``, ``confidence`` and ``nil_reason`` before the candidates where the index has a NIL rule,
            candidates as `Candidate.to_record` writes them; ``text_id`` where there is one.
        """
        documents = list(documents)
        if self.detector is not None:
            documents = [with_detected(document, self.detector) for document in documents]
        candidates = iter(self.link([mention for document in documents for mention in document.mentions], **options))
        return [self._linked(document, [next(candidates) for _ in document.mentions]) for document in documents]

    def _linked(self, document: Document, candidates: Iterable[list[Candidate]]) -> dict[str, Any]:
        linked: dict[str, Any] = {"text_id": document.text_id} if document.text_id else {}
        linked["text"] = document.text
        linked["mentions"] = [
            {
                "mention": mention.surface,
                "start": mention.start,
                "end": mention.end,
                **self._judged(found),
                "candidates": [candidate.to_record() for candidate in found],
            }
            for mention, found in zip(document.mentions, candidates, strict=True)
        ]
        return linked

    def _judged(self, candidates: list[Candidate]) -> dict[str, Any]:
        """What is said of a mention: ``nil``, ``confidence``, and the reason where it has no entity."""
        if self.nil_rule is None:
            return {} if candidates else {"nil": True, "nil_reason": NO_CANDIDATE}
        nil, confidence, reason = self.nil_rule.judge(candidates)
        return {"nil": nil, "confidence": confidence} | ({"nil_reason": reason} if nil else {})


def open_index(
    model: str | Path | None, index: str | Path | None = None, **loading: Any
) -> tuple[EntityEncoder, EntityIndex]:
    """Open an index and the model it was built with, whatever was fitted for it.

    Args:
        model: As for `EntityLinker.from_pretrained`, as are the others.
        index: Folder of the index.
        **loading: How to load the model.

    Returns:
        The model and the index.

    Raises:
        MissingFileError: If there is no such model or index.
        InputError: If the model brings no index along, or the index does not name its model.
        IndexMismatchError: If they do not belong together.
    """
    opened = EntityIndex.load(find_index(model) if index is None else index)
    if model is None and not opened.model:
        raise InputError(f"the index {index} does not name its model; give the model")
    try:
        encoder = EntityEncoder.from_pretrained(model or opened.model, **loading)
    except MissingFileError as error:
        if model is not None:
            raise
        raise MissingFileError(f"the index {index} names its model, but {error}; give the model") from None
    opened.check_model(encoder.fingerprint, encoder.name)
    return encoder, opened


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


def read_linking_options(
    model: str | Path, retrieval: str | None, nil_threshold: float | None, detector: str | Detector | None
) -> dict[str, Any]:
    """Read how to link from the ``pipeline`` section of a model's configuration.json.

    Args:
        model: The model folder.
        retrieval: Overrides the configuration, like the next two; None where it decides.
        nil_threshold: As for `EntityLinker`.
        detector: As for `EntityLinker`.

    Returns:
        The three as keywords of `EntityLinker`.

    Raises:
        ModelFolderError: If the configuration holds a value that cannot be used.
        InputError: If the retrieval is unknown or the threshold is out of its range.
    """
    settings = read_settings(PipelineSettings, model, retrieval=retrieval, nil_threshold=nil_threshold)
    return asdict(settings) | ({} if detector is None else {"detector": detector})


def _surface(mention: str | Mention) -> str:
    if isinstance(mention, Mention):
        return mention.surface
    marked = parse_marked_text(mention)
    return mention if marked is None else marked.surface
