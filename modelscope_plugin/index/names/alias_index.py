"""Exact and near names to rows of an index."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from modelscope_plugin.data.names import normalized_name
from modelscope_plugin.errors import IndexFolderError
from modelscope_plugin.index.names.bm25 import Floats, GramIndex

Rows: TypeAlias = npt.NDArray[np.int64]

MAX_NAME = 64
"""Characters of a name, and of a mention, that are compared; names of entities are shorter."""

_GRAMS = "grams."


class AliasIndex:
    """Normalised names and the rows that bear them, searchable exactly and by character grams.

    A row scores as high as its best name. Nothing in it is changed once it is built; an index that changes builds it
    anew.

    Args:
        names: The distinct normalised names in rising order.
        bearers: Rows that bear them, int32, name after name.
        starts: Where the bearers of each name begin, int64 (names + 1,).
        grams: The BM25 weights of the names.
    """

    def __init__(
        self, names: Sequence[str], bearers: npt.NDArray[np.int32], starts: npt.NDArray[np.int64], grams: GramIndex
    ) -> None:
        self.names = names
        self._bearers = bearers
        self._starts = starts
        self._grams = grams
        self._names_by_row: tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]] | None = None

    @classmethod
    def build(cls, pairs: Iterable[tuple[str, int]]) -> AliasIndex:
        """Build it from names and rows.

        Args:
            pairs: (name, row); names are normalised and cut at `MAX_NAME` characters here, empty ones are left out.
        """
        bearers_of: dict[str, set[int]] = {}
        for name, row in pairs:
            name = comparable(name)
            if name:
                bearers_of.setdefault(name, set()).add(row)
        names = sorted(bearers_of)
        starts = np.append(0, np.cumsum([len(bearers_of[name]) for name in names])).astype(np.int64)
        bearers = np.fromiter((row for name in names for row in sorted(bearers_of[name])), np.int32, int(starts[-1]))
        return cls(names, bearers, starts, GramIndex.build(names))

    def __len__(self) -> int:
        return len(self.names)

    def bearer_counts(self) -> npt.NDArray[np.int64]:
        """How many rows bear each name, int64 (names,)."""
        return np.diff(self._starts)

    def pairs(self) -> Iterator[tuple[str, int]]:
        """Every (normalised name, row)."""
        for place, name in enumerate(self.names):
            for row in self._bearers[self._starts[place] : self._starts[place + 1]].tolist():
                yield name, row

    def exact(self, mention: str) -> Rows:
        """The rows that bear the mention as a name, in rising order."""
        name = comparable(mention)
        place = bisect_left(self.names, name)
        if place == len(self.names) or self.names[place] != name:
            return np.empty(0, np.int64)
        return self._bearers[self._starts[place] : self._starts[place + 1]].astype(np.int64)

    def search(self, mention: str, top_k: int) -> Likeness:
        """Compare a mention with every name.

        Args:
            mention: The mention.
            top_k: Rows wanted; fewer are found where fewer names share a character with it.

        Returns:
            What it is like, with at least the ``top_k`` best rows; more where scores are equal.
        """
        scores, sample, own = self._grams.scores(comparable(mention))
        wide = max(top_k, 1)
        while True:
            places = _best(scores, sample, wide)
            if len(places) < wide or len(self._of_names(places)[0]) >= top_k:
                break
            # Many names of few rows: all at once rather than again and again.
            wide = 8 * wide if wide < 8 * top_k else len(scores) + 1
        rows, owners = self._of_names(places)
        best = np.zeros(len(rows), np.float32)
        np.maximum.at(best, owners[0], scores[owners[1]])
        return Likeness(self, scores, own, rows, best)

    def _of_names(self, places: Rows) -> tuple[Rows, tuple[Rows, Rows]]:
        """The distinct rows that bear some names, and for each (row, name) the place of both."""
        counts = self._starts[places + 1] - self._starts[places]
        offsets = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        bearers = self._bearers[np.repeat(self._starts[places], counts) + offsets]
        rows, inverse = np.unique(bearers.astype(np.int64), return_inverse=True)
        return rows, (inverse, np.repeat(places, counts))

    def likeness(self, scores: Floats, own: float, rows: Rows) -> Floats:
        """The likeness, 0 to 1, of the likest name of each row; see `Likeness`."""
        if self._names_by_row is None:
            order = np.argsort(self._bearers, kind="stable").astype(np.int32)
            names = np.repeat(np.arange(len(self.names), dtype=np.int32), np.diff(self._starts))[order]
            self._names_by_row = (self._bearers[order], names)
        bearers, names = self._names_by_row
        wanted = rows.astype(bearers.dtype)  # searching with another type would convert all bearers first
        starts, ends = np.searchsorted(bearers, wanted, "left"), np.searchsorted(bearers, wanted, "right")
        counts = ends - starts
        places = names[
            np.repeat(starts, counts) + np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        ]
        shares = scores[places] / np.maximum(self._grams.selves[places], np.float32(own))
        best = np.zeros(len(rows), np.float32)
        np.maximum.at(best, np.repeat(np.arange(len(rows)), counts), shares.astype(np.float32))
        return best.clip(0, 1)

    def save(self, path: Path) -> None:
        """Write it to one file."""
        from safetensors.numpy import save_file

        letters = "\n".join(self.names).encode("utf-8", "surrogatepass")
        save_file(
            {
                "names": np.frombuffer(letters, dtype=np.uint8),
                "bearers": self._bearers,
                "starts": self._starts,
                **{f"{_GRAMS}{field}": np.ascontiguousarray(array) for field, array in self._grams.arrays.items()},
            },
            path,
        )

    @classmethod
    def load(cls, path: Path) -> AliasIndex:
        """Read a file that `save` wrote.

        Raises:
            IndexFolderError: If the file is damaged.
        """
        from safetensors.numpy import load_file

        try:
            arrays = load_file(path)
            letters = arrays.pop("names").tobytes().decode("utf-8", "surrogatepass")
            names = letters.split("\n") if letters else []
            bearers, starts = arrays.pop("bearers"), arrays.pop("starts")
            grams = GramIndex(len(names), {field.removeprefix(_GRAMS): array for field, array in arrays.items()})
            if len(starts) != len(names) + 1 or len(bearers) != starts[-1]:
                raise ValueError("its arrays do not fit together")
        except Exception as error:  # whatever safetensors says of damaged bytes
            raise IndexFolderError(f"{path} is damaged ({error}); build the index again") from None
        return cls(names, bearers, starts, grams)


class Likeness:
    """How much the names of an index are like one mention.

    The likeness of a name is its BM25 score as a share of the score that the mention, or the name, has against itself,
    whichever is larger: 1 for the same name, 0 where no character is shared.

    Attributes:
        rows: The rows of the best BM25 scores, rising.
        scores: These scores.
    """

    def __init__(self, index: AliasIndex, name_scores: Floats, own: float, rows: Rows, scores: Floats) -> None:
        self._index = index
        self._name_scores = name_scores
        self._own = own
        self.rows = rows
        self.scores = scores

    def of(self, rows: Rows) -> Floats:
        """The likeness of the likest name of each of some rows, float32 (rows,)."""
        return self._index.likeness(self._name_scores, self._own, rows)


def comparable(name: str) -> str:
    """A name or a mention as it is compared: normalised, and cut."""
    # Cut before too, so that a name of a megabyte costs nothing; normalising rarely makes a name shorter by half.
    return normalized_name(name[: 4 * MAX_NAME])[:MAX_NAME]


def _best(scores: Floats, sample: npt.NDArray[np.int32], count: int) -> Rows:
    """The places of the ``count`` best scores above 0, and of those equal to the last of them."""
    # The count-th best of a part is not above that of the whole: nothing is lost below it.
    floor = _nth(scores[sample], count)
    places = np.flatnonzero(scores >= floor) if floor > 0 else np.flatnonzero(scores > 0)
    return places[scores[places] >= _nth(scores[places], count)]


def _nth(values: Floats, count: int) -> float:
    return float(np.partition(values, -count)[-count]) if len(values) >= count else 0.0
