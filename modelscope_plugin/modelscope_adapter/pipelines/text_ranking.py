"""The text-ranking pipeline: scores of mentions and candidates that a cross encoder reads together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from modelscope.outputs import OutputKeys
from modelscope.pipelines.builder import PIPELINES

from modelscope_plugin.config.metainfo import Pipelines, Tasks
from modelscope_plugin.data.requests import EmbeddingRequest, read_inputs
from modelscope_plugin.encoding.backends.loading import open_pair_backend
from modelscope_plugin.encoding.cross_encoder import CrossEncoder
from modelscope_plugin.modeling.compatibility import check_pairs_with_probe
from modelscope_plugin.modelscope_adapter.cross_encoder import EntityCrossEncoderModel, EntityCrossEncoderPreprocessor
from modelscope_plugin.modelscope_adapter.pipelines.base import BatchPipeline
from modelscope_plugin.modelscope_adapter.registration import register_class
from modelscope_plugin.types import BackendName, DtypeName, Scores


@register_class(PIPELINES, Tasks.text_ranking, Pipelines.entity_cross_encoder)
class EntityCrossEncoderPipeline(BatchPipeline):
    """``pipeline(Tasks.text_ranking, model)``.

    Input: ``{'source_sentence': [...], 'sentences_to_compare': [...]}``, each a list or one item, or a tuple of two
    texts. Sources are texts, texts with a marked mention (``… [ENT_S] 大鹏 [ENT_E] …``), or dicts with ``text``,
    ``start`` and ``end``.

    Output: ``scores``, between 0 and 1, the logistic function of the logits, as in the built-in pipeline: a flat list
    of m for one source, n lists of m for several, ``[]`` without candidates or sources.

    Example:
        >>> pipe = pipeline(Tasks.text_ranking, model="path/to/model")
        >>> pipe({
        ...     "source_sentence": ["宋小宝小品《美人鱼》， [ENT_S] 大鹏 [ENT_E] 上演生死离别"],
        ...     "sentences_to_compare": ["董成鹏； 类型： Person； 别名： Da Peng， 大鹏;", "大鹏； 类型： Other;"],
        ... })["scores"]
    """

    model_class = EntityCrossEncoderModel
    preprocessor_class = EntityCrossEncoderPreprocessor

    def _open_backend(self, folder: Path, backend: BackendName, dtype: DtypeName, compile: bool) -> None:
        model, tokenizer = self.model.cross_encoder, self.preprocessor.tokenizer
        check_pairs_with_probe(model, tokenizer)
        loaded = open_pair_backend(model, folder, backend, dtype, compile)
        self.cross_encoder = CrossEncoder(model, tokenizer, str(folder), loaded)

    def preprocess(self, inputs: list[Any]) -> list[EmbeddingRequest]:
        """Read a list of inputs."""
        return read_inputs(inputs, self.preprocessor.read_request)

    def forward(self, inputs: list[EmbeddingRequest], *, batch_size: int | None) -> list[Scores]:
        """Score the pairs of all requests together; a matrix (sources, sentences to compare) for each request."""
        pairs = [(source, text) for request in inputs for source in request.sources for text in request.candidates]
        logits = self.cross_encoder.predict(pairs, batch_size=batch_size)
        shapes = [(len(request.sources), len(request.candidates)) for request in inputs]
        ends = np.cumsum([sources * candidates for sources, candidates in shapes])
        parts = np.split(logits, ends[:-1]) if shapes else []
        return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]

    def postprocess(self, inputs: list[Scores]) -> list[dict[str, Any]]:
        """Put the scores under ModelScope's key."""
        return [{OutputKeys.SCORES: _to_list(logits)} for logits in inputs]


def _to_list(logits: Scores) -> list[Any]:
    if not logits.size:
        return []
    scores: list[Any] = np.exp(-np.logaddexp(0, -logits.astype(np.float64))).tolist()
    return scores[0] if len(scores) == 1 else scores
