"""Runs of equal numbers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def run_starts(values: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Where sorted numbers (n,) differ from the one before, the first included; bool (n,)."""
    return np.concatenate([np.ones(min(1, len(values)), np.bool_), values[1:] != values[:-1]])
