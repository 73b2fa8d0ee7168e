"""Entity linking through ModelScope: mentions of a text to entities of a knowledge base."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from modelscope.outputs import TASK_OUTPUTS
from modelscope.pipeline_inputs import TASK_INPUTS, InputType
from modelscope.pipelines.builder import PIPELINES

from modelscope_plugin.config.metainfo import Pipelines, Tasks
from modelscope_plugin.data.records import Document
from modelscope_plugin.data.requests import parse_linking_document
from modelscope_plugin.errors import InputError
from modelscope_plugin.linking.detection.detectors import Detector
from modelscope_plugin.linking.linker import DEFAULT_TOP_K, EntityLinker, configured, find_index
from modelscope_plugin.modelscope_adapter.models import EntityEmbeddingModel
from modelscope_plugin.modelscope_adapter.pipelines.base import EntityPipeline, read_each
from modelscope_plugin.modelscope_adapter.registration import registers
from modelscope_plugin.retrieval.entity_index import EntityIndex

TASK_INPUTS.setdefault(Tasks.entity_linking, [InputType.TEXT, {"text": InputType.TEXT, "mentions": InputType.LIST}])
TASK_OUTPUTS.setdefault(Tasks.entity_linking, ["text", "mentions"])


class EntityLinkingPipeline(EntityPipeline):
    """``pipeline('entity-linking', model=DIR, index=INDEX)``.

    Input: a text with a marked mention, or ``{'text': ..., 'mentions': [{'start': 0, 'end': 2}, ...]}`` (also
    ``start`` and ``end`` beside the text, or CCKS's ``mention_data``), or a list of either.

    Output: ``{'text': ..., 'mentions': [{'mention', 'start', 'end', 'candidates': [{'id', 'name', 'score',
    'rank', ...}, ...]}, ...]}``, offsets counted in the text without markers; of a candidate what `Candidate` names.

    Args:
        model: A model folder, a hub id or a loaded model; by default the one that the index names.
        index: Folder of the index, or an `EntityIndex`; by default the one that a published model brings along.
        top_k: Candidates per mention, where the call does not say otherwise.
        retrieval: ``hybrid``, ``dense`` or ``lexical``; by default what the model's configuration.json says.
        nil_threshold: The confidence below which a mention has no entity, in place of the fitted one.
        detector: Where mentions of texts without any come from: ``dictionary`` (the names of the index), a function
            from a text to (start, end) spans, or a ModelScope pipeline for named-entity recognition. An empty list of
            ``mentions`` says that a text has none, and is kept.
        **kwargs: As for `EntityPipeline`.

    Raises:
        InputError: If there is no index.
        IndexMismatchError: If the index was built with another model.
    """

    call_keywords = ("top_k",)

    def __init__(
        self,
        model: str | Path | EntityEmbeddingModel | None = None,
        index: str | Path | EntityIndex | None = None,
        top_k: int = DEFAULT_TOP_K,
        retrieval: str | None = None,
        nil_threshold: float | None = None,
        detector: str | Detector | None = None,
        **kwargs: Any,
    ) -> None:
        if index is None:
            place = model.model_dir if isinstance(model, EntityEmbeddingModel) else model
            index = find_index(place, kwargs.get("model_revision"))
        opened = index if isinstance(index, EntityIndex) else EntityIndex.load(index)
        if model is None and not opened.model:
            raise InputError("the index does not name its model; give model=FOLDER")
        super().__init__(model=model or opened.model, **kwargs)
        options = configured(self.encoder.name, retrieval=retrieval, nil_threshold=nil_threshold, detector=detector)
        self.linker = EntityLinker(self.encoder, opened, **options)
        self.top_k = top_k

    def preprocess(self, inputs: list[Any]) -> list[Document]:
        """Read a list of inputs."""
        unmarked = self.linker.detector is not None
        return read_each(inputs, partial(parse_linking_document, unmarked=unmarked))

    def forward(
        self, inputs: list[Document], *, batch_size: int | None, top_k: int | None = None
    ) -> list[dict[str, Any]]:
        """Link all mentions of all texts."""
        return self.linker.link_documents(inputs, top_k=self.top_k if top_k is None else top_k, batch_size=batch_size)

    def postprocess(self, inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Results as `forward` wrote them."""
        return inputs


# ModelScope takes the pipeline's type from configuration.json, which describes the embedding pipeline.
for _name in (Pipelines.entity_linking, Pipelines.entity_embedding, "sentence-embedding"):
    registers(PIPELINES, Tasks.entity_linking, _name)(EntityLinkingPipeline)
