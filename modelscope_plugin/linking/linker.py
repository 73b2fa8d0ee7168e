"""Links mentions to entities of a knowledge base, without ModelScope."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from modelscope_plugin.checks import check_integer
from modelscope_plugin.config.model_settings import PipelineSettings
from modelscope_plugin.config.settings import read_settings
from modelscope_plugin.data.records import Document, Mention
from modelscope_plugin.encoding.encoder import EntityEncoder
from modelscope_plugin.errors import InputError, InputTypeError, MissingFileError
from modelscope_plugin.linking.detection.detectors import DICTIONARY, DetectorLike, DictionaryOptions, make_detector
from modelscope_plugin.linking.detection.protocol import Detector
from modelscope_plugin.linking.detection.spans import add_mentions
from modelscope_plugin.linking.nil import NO_CANDIDATE, NilRule
from modelscope_plugin.linking.reranking.loading import load_reranker
from modelscope_plugin.linking.reranking.protocol import Reranker
from modelscope_plugin.linking.reranking.second_step import SecondStep
from modelscope_plugin.modeling.location import resolve_model
from modelscope_plugin.modeling.model_folder import INDEX_FOLDER
from modelscope_plugin.retrieval.candidate import Candidate
from modelscope_plugin.retrieval.entity_index import EntityIndex
from modelscope_plugin.retrieval.fitted import fit_nil_command
from modelscope_plugin.retrieval.retriever import Retriever
from modelscope_plugin.text import show

logger = logging.getLogger(__name__)

DEFAULT_TOP_K = 10


class EntityLinker:
    """Links mentions to the entities of an index.

    Args:
        encoder: The dual encoder.
        index: Its index of the knowledge base.
        retrieval: ``hybrid`` (names first, vectors and names fused), ``dense`` (vectors alone) or ``lexical`` (names
            alone); by default what ``pipeline.retrieval`` in the shipped configuration.json says.
        nil_threshold: The confidence, 0 to 1, below which a mention has no entity, instead of the one that was
            fitted for the index; with 0, only mentions without any candidate have none. Without a fitted rule every
            mention with a candidate has an entity.
        detector: Finds the mentions of texts that have none; see `make_detector`.
        reranker: Orders the first candidates anew, as from `load_reranker`; by default nothing does.
        rerank_top_k: Candidates of a mention that the re-ranker reads; by default what ``pipeline.rerank_top_k`` in
            the shipped configuration.json says.

    Raises:
        IndexMismatchError: If the index was built with another model, or weights of re-ranking were fitted for another
            re-ranker.
        InputError: If the retrieval is unknown, or there is a NIL threshold and no rule was fitted for the retrieval
            and the re-ranker.
    """

    def __init__(
        self,
        encoder: EntityEncoder,
        index: EntityIndex,
        retrieval: str | None = None,
        nil_threshold: float | None = None,
        detector: DetectorLike | None = None,
        reranker: Reranker | None = None,
        rerank_top_k: int | None = None,
    ) -> None:
        self.encoder = encoder
        self.reranker = reranker
        self._rerank_top_k = rerank_top_k
        self._options = PipelineSettings().retrieval if retrieval is None else retrieval, nil_threshold, detector
        self._use(index)

    def _use(self, index: EntityIndex) -> None:
        """Link to the entities of an index from now on; nothing changes where it cannot be used."""
        retrieval, nil_threshold, detector = self._options
        index.check_model(self.encoder.fingerprint, self.encoder.name)
        retriever = Retriever(index, retrieval)
        second_step, fingerprint = None, None
        if self.reranker is not None:
            if not isinstance(self.reranker, Reranker):
                raise InputTypeError(
                    f"reranker={show(self.reranker)} must be a re-ranker, or the name of its folder or hub id"
                )
            second_step = SecondStep(self.reranker, index, retrieval, self._rerank_top_k)
            fingerprint = self.reranker.fingerprint
        nil_rule = NilRule.of_index(index, retrieval, nil_threshold, fingerprint)
        if nil_rule is None and fingerprint is not None and retrieval in index.fitted.nil:
            logger.warning(
                "the NIL rule of the index was fitted without this re-ranker and is not used; fit it with: %s",
                fit_nil_command(retrieval, is_reranked=True),
            )
        self._parts = _Parts(index, retriever, second_step, nil_rule, make_detector(detector, index))

    @property
    def index(self) -> EntityIndex:
        """The index whose entities are linked to."""
        return self._parts.index

    @property
    def retriever(self) -> Retriever:
        """The first step."""
        return self._parts.retriever

    @property
    def second_step(self) -> SecondStep | None:
        """The second step, where there is a re-ranker."""
        return self._parts.second_step

    @property
    def nil_rule(self) -> NilRule | None:
        """The rule that says NIL, where one was fitted."""
        return self._parts.nil_rule

    @property
    def detector(self) -> Detector | None:
        """What finds the mentions of texts that have none."""
        return self._parts.detector

    def reload(self) -> bool:
        """Follow the index folder: open the index again if another one was written there.

        Calls under way in other threads end with the entities they began with.

        Returns:
            Whether anything had changed.

        Raises:
            InputError: If the index was not read from a folder.
            MissingFileError: If there is no index in the folder any more; this and the next leave the linker as it was.
            IndexFolderError: If the new one is damaged.
            IndexMismatchError: If the new one was built with another model.
        """
        if self.index.folder is None:
            raise InputError("the index was not read from a folder; make a new linker for another index")
        if self.index.is_current:
            return False
        self._use(EntityIndex.load(self.index.folder))
        return True

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path | None,
        index: str | Path | None = None,
        *,
        retrieval: str | None = None,
        nil_threshold: float | None = None,
        detector: DetectorLike | None = None,
        max_bearers: int | None = None,
        reranker: str | Path | Reranker | None = None,
        rerank_top_k: int | None = None,
        **loading: Any,
    ) -> EntityLinker:
        """Make a linker of an index and the model it was built with.

        Args:
            model: Folder or hub id; None for the model that the index names.
            index: Folder of the index; None for the one in the folder of a published model.
            retrieval: As for the class; by default what the model's configuration.json says.
            nil_threshold: As for the class; same default.
            detector: As for the class; same default.
            max_bearers: The most entities that may bear a name for the detector ``dictionary`` to find it; same
                default.
            reranker: Folder or hub id of a re-ranker, or a loaded one; same default, ``none`` for no re-ranker.
            rerank_top_k: As for the class; same default.
            **loading: How to load the model: ``device``, ``max_length``, ``backend`` and the other keywords of
                `EntityEncoder.from_pretrained`. A re-ranker is loaded with the same device, backend and dtype.

        Returns:
            The linker.

        Raises:
            MissingFileError: If there is no such model or index.
            InputError: If the model has no index in its folder, or the index does not name its model.
            IndexMismatchError: If they do not belong together.
        """
        encoder, entity_index = load_model_and_index(model, index, **loading)
        folder = resolve_model(encoder.name, loading.get("revision"))
        chosen = {"retrieval": retrieval, "nil_threshold": nil_threshold, "rerank_top_k": rerank_top_k}
        options = read_linking_options(
            folder, detector=detector, reranker=reranker, loading=loading, max_bearers=max_bearers, **chosen
        )
        return cls(encoder, entity_index, **options)

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
        return self._link(self._parts, mentions, top_k, batch_size, show_progress_bar)

    def _link(
        self,
        parts: _Parts,
        mentions: Sequence[str | Mention],
        top_k: int = DEFAULT_TOP_K,
        batch_size: int | None = None,
        show_progress_bar: bool | None = False,
    ) -> list[list[Candidate]]:
        retriever, second_step = parts.retriever, parts.second_step
        queries = retriever.encode_mentions(
            self.encoder, mentions, batch_size=batch_size, show_progress_bar=show_progress_bar
        )
        if second_step is None:
            return retriever.search(*queries, top_k)
        top_k = check_integer("top_k", top_k, least=1)
        vectors = [None] * len(mentions) if queries[0] is None else queries[0]
        with parts.index.guard.read():
            rankings = list(retriever.rank(*queries, max(top_k, second_step.top_k)))
            reranked = second_step.rank(mentions, rankings, batch_size=batch_size)
            return [
                second_step.make_candidates(retriever, one.take(top_k), vector)
                for one, vector in zip(reranked, vectors, strict=True)
            ]

    def link_documents(self, documents: Iterable[Document], **options: Any) -> list[dict[str, Any]]:
        """Link all mentions of texts; with a detector, it finds the mentions of texts that have none.

        Args:
            documents: The texts.
            **options: Options of `link`.

        Returns:
            For each text ``{"text": ..., "mentions": [{"mention", "start", "end", "candidates"}, ...]}``,
            ``text_id`` first if the text has one, candidates as from `Candidate.to_record`. If the index has a NIL
            rule, a mention also has ``nil`` and ``confidence``, and ``nil_reason`` if it has no entity. Without a rule,
            after re-ranking with fitted weights, ``confidence`` is the probability of the best candidate.
        """
        documents, parts = list(documents), self._parts
        if parts.detector is not None:
            documents = add_mentions(documents, parts.detector)
        mentions = [mention for document in documents for mention in document.mentions]
        candidates = iter(self._link(parts, mentions, **options))
        return [
            _to_record(document, [next(candidates) for _ in document.mentions], parts.nil_rule)
            for document in documents
        ]


@dataclass(frozen=True)
class _Parts:
    """What a linker exchanges as a whole when it follows its index."""

    index: EntityIndex
    retriever: Retriever
    second_step: SecondStep | None
    nil_rule: NilRule | None
    detector: Detector | None


def _to_record(document: Document, candidates: Iterable[list[Candidate]], nil_rule: NilRule | None) -> dict[str, Any]:
    record: dict[str, Any] = {"text_id": document.text_id} if document.text_id else {}
    record["text"] = document.text
    record["mentions"] = [
        {
            "mention": mention.surface,
            "start": mention.start,
            "end": mention.end,
            **_decide_nil(found, nil_rule),
            "candidates": [candidate.to_record() for candidate in found],
        }
        for mention, found in zip(document.mentions, candidates, strict=True)
    ]
    return record


def _decide_nil(candidates: list[Candidate], nil_rule: NilRule | None) -> dict[str, Any]:
    """Return the fields ``nil``, ``confidence`` and, if the mention has no entity, ``nil_reason``."""
    if nil_rule is None:
        if not candidates:
            return {"nil": True, "nil_reason": NO_CANDIDATE}
        probability = candidates[0].probability
        return {} if probability is None else {"confidence": probability}
    nil, confidence, reason = nil_rule.judge(candidates)
    return {"nil": nil, "confidence": confidence} | ({"nil_reason": reason} if nil else {})


def load_model_and_index(
    model: str | Path | None, index: str | Path | None = None, **loading: Any
) -> tuple[EntityEncoder, EntityIndex]:
    """Load an index and the model it was built with.

    What was fitted for the index is not read, so that a damaged NIL rule can be fitted again.

    Args:
        model: Folder or hub id of the model; None for the one that the index names.
        index: Folder of the index; None for the one in the folder of a published model.
        **loading: How to load the model; the keywords of `EntityEncoder.from_pretrained`.

    Returns:
        The model and the index.

    Raises:
        MissingFileError: If there is no such model or index.
        InputError: If the model has no index in its folder, or the index does not name its model.
        IndexMismatchError: If they do not belong together.
    """
    entity_index = EntityIndex.load(find_index_folder(model, loading.get("revision")) if index is None else index)
    if model is None and not entity_index.model:
        raise InputError(f"the index {index} does not name its model; give the model")
    try:
        encoder = EntityEncoder.from_pretrained(model or entity_index.model, **loading)
    except MissingFileError as error:
        if model is not None:
            raise
        raise MissingFileError(f"the index {index} names its model, but {error}; give the model") from None
    entity_index.check_model(encoder.fingerprint, encoder.name)
    return encoder, entity_index


def find_index_folder(model: str | Path | None, revision: str | None = None) -> Path:
    """Find the index in the folder of a published model.

    Args:
        model: A model folder or a hub id.
        revision: Branch or tag of a hub model.

    Returns:
        The folder of the index.

    Raises:
        InputError: If no model is given, or its folder has no index.
        MissingFileError: If there is no such model.
    """
    folder = None if model is None else resolve_model(model, revision)
    if folder is None or not (folder / INDEX_FOLDER).is_dir():
        missing = "" if folder is None else f", and there is none in {folder}"
        raise InputError(
            f"no index is given{missing}; give index=FOLDER, made with: modelscope entity index KB --model DIR --out "
            "FOLDER"
        )
    return folder / INDEX_FOLDER


def read_linking_options(
    model: str | Path,
    *,
    detector: DetectorLike | None = None,
    reranker: str | Path | Reranker | None = None,
    loading: Mapping[str, Any] | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Read how to link from the ``pipeline`` section of a model's configuration.json, and load its re-ranker.

    Args:
        model: The model folder.
        detector: Overrides the configuration, like all others; None where it decides.
        reranker: Folder or hub id of a re-ranker, or a loaded one. In the configuration it may be the name of a
            sub-folder of the model.
        loading: How the model was loaded; ``device``, ``backend`` and ``dtype`` among it are used for the re-ranker.
        **settings: Other settings of `PipelineSettings` by name.

    Returns:
        Keywords of `EntityLinker`.

    Raises:
        MissingFileError: If there is no such re-ranker.
        ModelFolderError: If the configuration holds a value that cannot be used, or the re-ranker is of another kind.
        InputError: If a setting is unknown or out of its range.
    """
    name = str(reranker) if isinstance(reranker, str | Path) else None
    options = asdict(read_settings(PipelineSettings, model, reranker=name, **settings))
    names = DictionaryOptions(options.pop("max_bearers"))
    chosen = options["detector"] if detector is None else detector
    options["detector"] = names if isinstance(chosen, str) and chosen == DICTIONARY else chosen
    if reranker is None or name is not None:
        path = reranker if isinstance(reranker, Path) else options["reranker"]
        if reranker is None and path is not None and (Path(model) / path).is_dir():
            path = Path(model) / path
        given = {key: value for key, value in (loading or {}).items() if key in ("device", "backend", "dtype")}
        reranker = None if path is None else load_reranker(path, **given)
    return options | {"reranker": reranker}
