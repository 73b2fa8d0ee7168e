"""Character 1- and 2-grams of many names at once, as numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from modelscope_plugin.retrieval.lexical.best_rows import run_starts

Keys: TypeAlias = npt.NDArray[np.int64]
Positions: TypeAlias = npt.NDArray[np.int64]

# A code point has at most 21 bits; a 1-gram has no first half.
_SHIFT = 21
_CODES = 0x110000


@dataclass(frozen=True)
class GramPostings:
    """Which grams stand in which names, gram after gram.

    Attributes:
        vocabulary: The numbers of the grams, as `gram_keys` makes them, rising; int64 (grams,).
        starts: Where the names of each gram begin, int64 (grams + 1,).
        positions: The positions of the names among all names, rising for each gram; int32.
    """

    vocabulary: Keys
    starts: Positions
    positions: npt.NDArray[np.int32]

    @classmethod
    def build(cls, names: Sequence[str]) -> GramPostings:
        """Find the grams of names."""
        codes = _codes(names)
        positions = np.repeat(np.arange(len(names), dtype=np.int64), np.fromiter(map(len, names), np.int64, len(names)))
        # Characters are numbered anew, from 1, so that a gram and the position of its name fit into one number: a
        # single sort of those groups everything, several times as fast as sorting one by the other. 2^41 grams leave
        # room for 4 million names were all code points in use; with the 2^16 of a large knowledge base there is room
        # for 2^31.
        used = np.zeros(_CODES, dtype=bool)
        used[codes] = True
        characters = np.flatnonzero(used)
        number = np.zeros(_CODES, dtype=np.int64)
        number[characters] = np.arange(1, len(characters) + 1)
        letters, width = number[codes], len(characters) + 1
        inside = positions[1:] == positions[:-1]
        packed = np.concatenate([letters, letters[:-1][inside] * width + letters[1:][inside]])
        packed *= len(names)
        packed += np.concatenate([positions, positions[:-1][inside]])
        del codes, positions, letters, inside  # as large as all that follows
        packed.sort()
        grams, owners = np.divmod(packed[run_starts(packed)], max(len(names), 1))
        starts = np.flatnonzero(run_starts(grams))
        first, second = np.divmod(grams[starts], width)
        keys = np.append(0, characters + 1)[first] << _SHIFT | np.append(0, characters)[second]
        return cls(keys, np.append(starts, len(grams)), owners.astype(np.int32))


def gram_keys(name: str) -> Keys:
    """A number for each gram of a name, equal for equal grams, a gram as often as it occurs; int64."""
    codes = _codes([name])
    # 0 is a code point too, so that the first half of a 2-gram is counted from 1.
    return np.concatenate([codes, ((codes[:-1] + 1) << _SHIFT) | codes[1:]])


def is_pair(keys: Keys) -> npt.NDArray[np.bool_]:
    """Whether grams are 2-grams, by their numbers; bool."""
    return keys >= 1 << _SHIFT


def _codes(names: Sequence[str]) -> Keys:
    return np.frombuffer("".join(names).encode("utf-32-le", "surrogatepass"), dtype=np.uint32).astype(np.int64)
