"""A re-ranker that compares the token vectors of mention and entity text."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from modelscope_plugin.checks import check_integer
from modelscope_plugin.data.entity_text import entity_text
from modelscope_plugin.data.records import Entity, Mention
from modelscope_plugin.encoding.backends.torch_backend import run_inference
from modelscope_plugin.encoding.encoder import EntityEncoder
from modelscope_plugin.encoding.token_batches import make_batches
from modelscope_plugin.linking.reranking.protocol import check_lists
from modelscope_plugin.linking.reranking.token_cache import TokenCache
from modelscope_plugin.modeling.fingerprint import join_fingerprint
from modelscope_plugin.modeling.late_interaction import max_sim, pad_tokens, token_vectors
from modelscope_plugin.types import Scores, Side, TokenIds, TokenVectors

CACHE_BYTES = 256 << 20
"""Bytes of entity token vectors that are kept: 20,000 entities of 50 tokens with 128 dimensions, 3,500 with 768."""

# Mentions scored together; the token vectors of their candidates are in memory at the same time.
_CHUNK = 64
# Decimals of a score: what vectors of 16 bits can tell apart, and coarser than what batches of another shape change.
_DECIMALS = 5


class LateInteraction:
    """Scores candidates by MaxSim over the token vectors of a dual encoder; see `modeling.late_interaction`.

    Any dual encoder serves; one that was trained for it serves better. It computes with torch. Threads can share it.

    Args:
        encoder: The dual encoder with its tokenizer.
        cache_bytes: Bytes of entity token vectors, float16, that are kept for mentions to come; 0 for none.
    """

    def __init__(self, encoder: EntityEncoder, *, cache_bytes: int = CACHE_BYTES) -> None:
        self.encoder = encoder
        self._cache = TokenCache(check_integer("cache_bytes", cache_bytes, least=0))

    @classmethod
    def from_pretrained(cls, model: str | Path, *, cache_bytes: int = CACHE_BYTES, **loading: Any) -> LateInteraction:
        """Load the folder of a dual encoder, or one of the ModelScope hub.

        Args:
            model: A folder, or a hub id such as ``owner/name``.
            cache_bytes: As for the class.
            **loading: ``device``, ``max_length`` and ``revision``, as for `EntityEncoder.from_pretrained`.

        Returns:
            The re-ranker.

        Raises:
            MissingFileError: If there is no such model.
            ModelFolderError: If a file of it is missing or damaged.
            InputError: If the device or the length cannot be used.
        """
        return cls(EntityEncoder.from_pretrained(model, **loading), cache_bytes=cache_bytes)

    @property
    def name(self) -> str:
        """Folder or hub id of the model."""
        return self.encoder.name

    @cached_property
    def fingerprint(self) -> str:
        """Digest of the model; another one than that of its vectors, since other things are compared."""
        return join_fingerprint(
            self.encoder.fingerprint.partition(".")[0], self.encoder.fingerprint, "late interaction"
        )

    def score(
        self,
        mentions: Sequence[str | Mention],
        entities: Sequence[Sequence[Entity]],
        *,
        batch_size: int | None = None,
    ) -> list[Scores]:
        """Score the candidates of mentions, -1 to 1; see `modelscope_plugin.linking.reranking.protocol.Reranker`."""
        check_lists(mentions, entities)
        if batch_size is not None:
            batch_size = check_integer("batch_size", batch_size, least=1)
        scores: list[Scores] = []
        for start in range(0, len(mentions), _CHUNK):
            chunk = mentions[start : start + _CHUNK]
            texts = [[entity_text(entity) for entity in one] for one in entities[start : start + _CHUNK]]
            known = self._cache.look_up(
                [text for one in texts for text in one], lambda missing: self._encode_texts(missing, batch_size)
            )
            sequences = self.encoder.tokenizer.mention_ids(chunk)
            vectors = self._encode("mention", sequences, batch_size)
            scores += [_score(mention, one, known) for mention, one in zip(vectors, texts, strict=True)]
        return scores

    def _encode_texts(self, texts: list[str], batch_size: int | None) -> list[TokenVectors]:
        return self._encode("entity", self.encoder.tokenizer.entity_ids(texts), batch_size)

    def _encode(self, side: Side, sequences: Sequence[TokenIds], batch_size: int | None) -> list[TokenVectors]:
        """Encode sequences; of each the vectors of the tokens that are compared, float16 (tokens, dim)."""
        model, tokenizer = self.encoder.model, self.encoder.tokenizer
        found: list[TokenVectors] = [np.empty((0, 0), np.float16)] * len(sequences)
        with run_inference(model):
            for batch in make_batches(list(map(len, sequences)), self.encoder.backend.token_budget, batch_size):
                inputs = pad_tokens(tokenizer, side, [sequences[position] for position in batch])
                masks = inputs.pop("token_mask")
                vectors = token_vectors(model, side, **{name: ids.to(model.device) for name, ids in inputs.items()})
                for position, one, mask in zip(batch, vectors.half().cpu(), masks, strict=True):
                    found[position] = one[mask].numpy()
        return found


def _score(mention: TokenVectors, texts: Sequence[str], known: dict[str, TokenVectors]) -> Scores:
    """Score the candidates of one mention; those of the same text once, so that they get the same score."""
    if not texts:
        return np.empty(0, dtype=np.float32)
    rows = {text: row for row, text in enumerate(dict.fromkeys(texts))}
    entities = [torch.from_numpy(known[text]) for text in rows]
    lengths = torch.tensor([len(entity) for entity in entities])
    mask = torch.arange(int(lengths.max())) < lengths[:, None]
    tokens = torch.from_numpy(mention).float()
    with torch.inference_mode():
        every = max_sim(
            tokens[None], torch.ones(1, len(tokens)), pad_sequence(entities, batch_first=True).float(), mask
        )
    scores: Scores = np.round(every.numpy(), _DECIMALS)[[rows[text] for text in texts]]
    return scores
