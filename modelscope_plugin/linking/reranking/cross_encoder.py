"""A re-ranker that reads mention and entity text as one sequence."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from modelscope_plugin.data.records import Entity, Mention
from modelscope_plugin.encoding.cross_encoder import CrossEncoder
from modelscope_plugin.linking.reranking.protocol import check_lists
from modelscope_plugin.types import Scores


class CrossEncoderReranker:
    """Scores candidates with a cross encoder.

    Args:
        cross_encoder: The cross encoder.
    """

    def __init__(self, cross_encoder: CrossEncoder) -> None:
        self.cross_encoder = cross_encoder

    @classmethod
    def from_pretrained(cls, model: str | Path, **loading: Any) -> CrossEncoderReranker:
        """Load the folder of a cross encoder, or one of the ModelScope hub.

        Args:
            model: A folder, or a hub id such as ``owner/name``.
            **loading: The keywords of `CrossEncoder.from_pretrained`.

        Returns:
            The re-ranker.
        """
        return cls(CrossEncoder.from_pretrained(model, **loading))

    @property
    def name(self) -> str:
        """Folder or hub id of the model."""
        return self.cross_encoder.name

    @property
    def fingerprint(self) -> str:
        """Digest of all that decides a score."""
        return self.cross_encoder.fingerprint

    def score(
        self,
        mentions: Sequence[str | Mention],
        entities: Sequence[Sequence[Entity]],
        *,
        batch_size: int | None = None,
    ) -> list[Scores]:
        """Score the candidates of mentions; see `modelscope_plugin.linking.reranking.protocol.Reranker`."""
        check_lists(mentions, entities)
        pairs = [(mention, entity) for mention, one in zip(mentions, entities, strict=True) for entity in one]
        scores = self.cross_encoder.predict(pairs, batch_size=batch_size)
        ends = np.cumsum([len(one) for one in entities], dtype=np.int64)
        return np.split(scores, ends[:-1]) if len(ends) else []
