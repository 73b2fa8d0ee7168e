"""Character 1- and 2-grams of many names at once, as numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Keys: TypeAlias = npt.NDArray[np.int64]
Places: TypeAlias = npt.NDArray[np.int64]

# A code point has at most 21 bits; a 1-gram has no first half.
_SHIFT = 21


def gram_keys(names: Sequence[str]) -> tuple[Keys, Places]:
    """The grams of names.

    Args:
        names: The names.

    Returns:
        A number for each gram, equal for equal grams, and the place of the name that it stands in; both int64 and as
        long as there are grams, a gram as often as it occurs.
    """
    codes = np.frombuffer("".join(names).encode("utf-32-le", "surrogatepass"), dtype=np.uint32).astype(np.int64)
    places = np.repeat(np.arange(len(names), dtype=np.int64), np.fromiter(map(len, names), np.int64, len(names)))
    inside = places[1:] == places[:-1]
    # 0 is a code point too, so that the first half of a 2-gram is counted from 1.
    pairs = ((codes[:-1][inside] + 1) << _SHIFT) | codes[1:][inside]
    return np.concatenate([codes, pairs]), np.concatenate([places, places[:-1][inside]])
