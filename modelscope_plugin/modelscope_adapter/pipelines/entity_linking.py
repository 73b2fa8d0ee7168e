"""The entity-linking pipeline: mentions of a text to entities of a knowledge base."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from modelscope.outputs import TASK_OUTPUTS
from modelscope.pipeline_inputs import TASK_INPUTS, InputType
from modelscope.pipelines.builder import PIPELINES

from modelscope_plugin.checks import check_integer
from modelscope_plugin.config.metainfo import Tasks
from modelscope_plugin.data.records import Document
from modelscope_plugin.data.requests import parse_linking_document, read_inputs
from modelscope_plugin.errors import InputError
from modelscope_plugin.linking.detection.detectors import DetectorLike
from modelscope_plugin.linking.linker import DEFAULT_TOP_K, EntityLinker, find_index_folder, read_linking_options
from modelscope_plugin.linking.reranking.protocol import Reranker
from modelscope_plugin.modelscope_adapter.models import EntityEmbeddingModel
from modelscope_plugin.modelscope_adapter.pipelines.base import EntityPipeline
from modelscope_plugin.modelscope_adapter.registration import ENTITY_LINKING_NAMES, register_class
from modelscope_plugin.retrieval.entity_index import EntityIndex

TASK_INPUTS.setdefault(Tasks.entity_linking, [InputType.TEXT, {"text": InputType.TEXT, "mentions": InputType.LIST}])
TASK_OUTPUTS.setdefault(Tasks.entity_linking, ["text", "mentions"])


@register_class(PIPELINES, Tasks.entity_linking, *ENTITY_LINKING_NAMES)
class EntityLinkingPipeline(EntityPipeline):
    """``pipeline('entity-linking', model=DIR, index=INDEX)``.

    Input: a text with a marked mention, or ``{'text': ..., 'mentions': [{'start': 0, 'end': 2}, ...]}`` (also
    ``start`` and ``end`` beside the text, or ``mention_data`` as in CCKS), or a list of either.

    Output: ``{'text': ..., 'mentions': [{'mention', 'start', 'end', 'candidates': [{'id', 'name', 'score',
    'rank', ...}, ...]}, ...]}``. Offsets count characters of the text without markers; a candidate has the fields of
    `Candidate` that are known.

    Args:
        model: A model folder, a hub id or a loaded model; by default the one that the index names.
        index: Folder of the index, or an `EntityIndex`; by default the one in the folder of a published model.
        top_k: Candidates per mention, unless the call says otherwise; None for 10.
        retrieval: ``hybrid``, ``dense`` or ``lexical``; by default what the model's configuration.json says.
        nil_threshold: The confidence, 0 to 1, below which a mention has no entity, instead of the fitted threshold.
        detector: Finds the mentions of texts that have none: ``dictionary`` (the names of the index), a function from
            a text to (start, end) spans, a ModelScope pipeline for named-entity recognition, or an object with a
            method ``detect``. In a text with an empty list of ``mentions`` none are looked for.
        reranker: Folder or hub id of a re-ranker, or a loaded one (`load_reranker`), which orders the first candidates
            anew; by default what the model's configuration.json says, ``none`` for none.
        rerank_top_k: Candidates of a mention that the re-ranker reads.
        **kwargs: As for `EntityPipeline`; the re-ranker has the same ``device``, ``backend`` and ``dtype``.

    Raises:
        InputError: If there is no index, or ``top_k`` is not positive.
        IndexMismatchError: If the index was built with another model.
    """

    call_keywords = ("top_k",)

    def __init__(
        self,
        model: str | Path | EntityEmbeddingModel | None = None,
        index: str | Path | EntityIndex | None = None,
        top_k: int | None = None,
        retrieval: str | None = None,
        nil_threshold: float | None = None,
        detector: DetectorLike | None = None,
        reranker: str | Path | Reranker | None = None,
        rerank_top_k: int | None = None,
        **kwargs: Any,
    ) -> None:
        self.top_k = DEFAULT_TOP_K if top_k is None else check_integer("top_k", top_k, least=1)
        if index is None:
            folder = model.model_dir if isinstance(model, EntityEmbeddingModel) else model
            index = find_index_folder(folder, kwargs.get("model_revision"))
        entity_index = index if isinstance(index, EntityIndex) else EntityIndex.load(index)
        if model is None and not entity_index.model:
            raise InputError("the index does not name its model; give model=FOLDER")
        super().__init__(model=model or entity_index.model, **kwargs)
        chosen = {"retrieval": retrieval, "nil_threshold": nil_threshold, "rerank_top_k": rerank_top_k}
        options = read_linking_options(
            self.encoder.name, detector=detector, reranker=reranker, loading=kwargs, **chosen
        )
        self.linker = EntityLinker(self.encoder, entity_index, **options)

    def reload(self) -> bool:
        """Follow the index folder; see `EntityLinker.reload`."""
        return self.linker.reload()

    def preprocess(self, inputs: list[Any]) -> list[Document]:
        """Read a list of inputs."""
        has_detector = self.linker.detector is not None
        return read_inputs(inputs, partial(parse_linking_document, unmarked=has_detector))

    def forward(
        self, inputs: list[Document], *, batch_size: int | None, top_k: int | None = None
    ) -> list[dict[str, Any]]:
        """Link all mentions of all texts."""
        top_k = self.top_k if top_k is None else top_k
        return self.linker.link_documents(inputs, top_k=top_k, batch_size=batch_size)

    def postprocess(self, inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the results of `forward` as they are."""
        return inputs
