"""The sentence-embedding pipeline: vectors and scores of mentions and candidates."""

from __future__ import annotations

from typing import Any

import numpy as np
from modelscope.outputs import OutputKeys
from modelscope.pipelines.builder import PIPELINES

from modelscope_plugin.config.metainfo import Pipelines, Tasks
from modelscope_plugin.data.requests import EmbeddingRequest, read_inputs
from modelscope_plugin.modelscope_adapter.pipelines.base import EntityPipeline
from modelscope_plugin.modelscope_adapter.registration import register_class
from modelscope_plugin.types import Vectors


@register_class(PIPELINES, Tasks.sentence_embedding, Pipelines.entity_embedding)
class EntityEmbeddingPipeline(EntityPipeline):
    """``pipeline(Tasks.sentence_embedding, model)``.

    Input: ``{'source_sentence': [...], 'sentences_to_compare': [...]}``, each a list or one item, the second
    optional. Sources are texts, texts with a marked mention (``… [ENT_S] 大鹏 [ENT_E] …``), or dicts with
    ``text``, ``start`` and ``end``.

    Output: ``text_embedding``, float32 (n + m, dim), sources first; ``scores``, the dot products: a flat list
    of m for one source, n lists of m for several, ``[]`` without candidates or sources.

    Example:
        >>> pipe = pipeline(Tasks.sentence_embedding, model="path/to/model")
        >>> pipe({
        ...     "source_sentence": ["宋小宝小品《美人鱼》， [ENT_S] 大鹏 [ENT_E] 上演生死离别"],
        ...     "sentences_to_compare": ["董成鹏； 类型： Person； 别名： Da Peng， 大鹏;"],
        ... })["scores"]
    """

    def preprocess(self, inputs: list[Any]) -> list[EmbeddingRequest]:
        """Read a list of inputs."""
        return read_inputs(inputs, self.preprocessor.read_request)

    def forward(self, inputs: list[EmbeddingRequest], *, batch_size: int | None) -> list[tuple[Vectors, Vectors]]:
        """Encode the sources and the candidates of all requests together."""
        sources = [text for request in inputs for text in request.sources]
        candidates = [text for request in inputs for text in request.candidates]
        source_vectors = self.encoder.encode_query(sources, batch_size=batch_size)
        candidate_vectors = self.encoder.encode_document(candidates, batch_size=batch_size)
        parts = []
        source = candidate = 0
        for request in inputs:
            next_source, next_candidate = source + len(request.sources), candidate + len(request.candidates)
            parts.append((source_vectors[source:next_source], candidate_vectors[candidate:next_candidate]))
            source, candidate = next_source, next_candidate
        return parts

    def postprocess(self, inputs: list[tuple[Vectors, Vectors]]) -> list[dict[str, Any]]:
        """Put vectors and scores under ModelScope's keys."""
        return [
            {
                OutputKeys.TEXT_EMBEDDING: np.concatenate([sources, candidates]),
                OutputKeys.SCORES: _scores(sources, candidates),
            }
            for sources, candidates in inputs
        ]


def _scores(sources: Vectors, candidates: Vectors) -> list[Any]:
    if not len(sources) or not len(candidates):
        return []
    scores: list[Any] = (sources @ candidates.T).tolist()
    return scores[0] if len(scores) == 1 else scores
