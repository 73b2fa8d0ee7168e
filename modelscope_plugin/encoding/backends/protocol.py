"""What computes vectors: one small protocol."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from modelscope_plugin.types import Side, Vectors

Ids: TypeAlias = npt.NDArray[np.int64]
"""int64, shape (n, length): token ids, or a mask that is 1 for tokens and 0 for padding."""


class Embed(Protocol):
    """Computes the vectors of one batch."""

    def __call__(self, input_ids: Ids, attention_mask: Ids) -> Vectors:
        """Compute vectors (n, dim) from token ids and attention mask (n, length)."""


class Backend(Protocol):
    """Computes vectors of batches."""

    @property
    def token_budget(self) -> int:
        """Tokens of a batch, padding counted, at which it is fastest."""

    def job(self, side: Side, tokens: int) -> AbstractContextManager[Embed]:
        """Get ready to encode.

        Args:
            side: Which tower.
            tokens: About how many tokens there are to encode: what a backend prepares has to pay.

        Returns:
            A context whose value computes the vectors of a batch; it is of use inside the context only.
        """
