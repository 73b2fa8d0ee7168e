"""Computation of vectors from token ids: one small protocol."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from modelscope_plugin.types import Scores, Side, Vectors

TokenMatrix: TypeAlias = npt.NDArray[np.int64]
"""int64, shape (n, length): token ids, or a mask that is 1 for tokens and 0 for padding."""


class BatchEmbedder(Protocol):
    """Computes the vectors of one batch."""

    def __call__(self, input_ids: TokenMatrix, attention_mask: TokenMatrix) -> Vectors:
        """Compute vectors (n, dim) from token ids and attention mask (n, length)."""


class PairScorer(Protocol):
    """Scores one batch of pairs."""

    def __call__(
        self, input_ids: TokenMatrix, attention_mask: TokenMatrix, token_type_ids: TokenMatrix | None = None
    ) -> Scores:
        """Compute scores (n,) from token ids, attention mask and segments (n, length)."""


class PairBackend(Protocol):
    """Scores batches of pairs."""

    @property
    def token_budget(self) -> int:
        """Tokens of a batch, padding counted, at which it is fastest."""

    def prepare(self, tokens: int) -> AbstractContextManager[PairScorer]:
        """Prepare to score pairs; as `Backend.prepare`, with one model for both sides."""


class Backend(Protocol):
    """Computes vectors of batches."""

    @property
    def token_budget(self) -> int:
        """Tokens of a batch, padding counted, at which it is fastest."""

    def prepare(self, side: Side, tokens: int) -> AbstractContextManager[BatchEmbedder]:
        """Prepare to compute vectors of one side.

        Args:
            side: Which tower.
            tokens: About how many tokens will be encoded, so that a backend prepares only what pays for them.

        Returns:
            A context manager; what it gives computes the vectors of a batch, inside the context only.
        """
