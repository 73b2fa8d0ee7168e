"""Top-k rows, each with its highest score, and runs of equal numbers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_HALF = 32
_LOW = (1 << _HALF) - 1
# More than the bits of any float32 that is not negative.
_TOP = 0x7FFFFFFF


def best_rows(
    rows: npt.NDArray[np.int64], scores: npt.NDArray[np.float32], top_k: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Choose the top-k rows by their highest scores.

    Args:
        rows: Rows, int64 (n,), less than 2^31; a row may come several times and counts with its highest score.
        scores: Their scores, float32 (n,), not negative.
        top_k: How many.

    Returns:
        The distinct rows, at most ``top_k``, by falling score and then by row; and their scores.
    """
    # The bits of such floats rise as the floats do: row and score make one number, and numbers sort fast.
    falling = _TOP - scores.view(np.int32).astype(np.int64)
    by_row = np.sort(rows << _HALF | falling)
    rows = by_row >> _HALF
    first = run_starts(rows)
    by_score = (by_row[first] & _LOW) << _HALF | rows[first]
    if len(by_score) > top_k:
        by_score = np.partition(by_score, top_k)[:top_k]
    by_score.sort()
    return by_score & _LOW, (_TOP - (by_score >> _HALF)).astype(np.int32).view(np.float32)


def run_starts(values: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Where sorted numbers (n,) differ from the one before, the first included; bool (n,)."""
    return np.concatenate([np.ones(min(1, len(values)), np.bool_), values[1:] != values[:-1]])
