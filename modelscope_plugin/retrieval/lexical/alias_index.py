"""Exact and near names to rows of an index."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from modelscope_plugin.data.names import normalized_name
from modelscope_plugin.errors import IndexFolderError
from modelscope_plugin.retrieval.arrays import check_array, check_groups
from modelscope_plugin.retrieval.lexical.best_rows import best_rows, run_starts
from modelscope_plugin.retrieval.lexical.gram_index import Floats, GramIndex, NameScores, Positions
from modelscope_plugin.retrieval.lexical.grams import GramPostings
from modelscope_plugin.types import RowIds

MAX_NAME = 64
"""Characters of a name, and of a mention, whose grams are compared; names of entities are shorter."""

# Names looked at for each row wanted, to see where the best begin.
_MORE = 4
_FIELDS = frozenset(("names", "order", "bearers", "starts", "grams.vocabulary", "grams.starts", "grams.places"))
# Weights that earlier versions stored; another likeness needs others.
_EARLIER_FIELDS = frozenset(("grams.weights", "grams.selves"))


class AliasIndex:
    """Normalised names and the rows that bear them, searchable exactly and by character grams.

    A row is as like a mention as its likest name, and equal rows are in the order of their ids. Nothing in it is
    changed once it is built; an index that changes builds it anew.

    Args:
        names: The distinct normalised names in rising order.
        order: All rows in the order of their ids, int32 (rows,).
        bearers: The bearers of the names, name after name, as positions in ``order``, rising for each name; int32.
        starts: Where the bearers of each name begin, int64 (names + 1,).
        grams: The grams of the names, each cut at `MAX_NAME` characters.
    """

    def __init__(
        self,
        names: Sequence[str],
        order: npt.NDArray[np.int32],
        bearers: npt.NDArray[np.int32],
        starts: npt.NDArray[np.int64],
        grams: GramIndex,
    ) -> None:
        self.names = names
        self.order = order
        self._bearers = bearers
        self._starts = starts
        self._grams = grams
        self._names_by_bearer: tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]] | None = None
        self._ranks: npt.NDArray[np.int32] | None = None

    @classmethod
    def build(cls, pairs: Iterable[tuple[str, int]], order: npt.NDArray[np.int32] | None = None) -> AliasIndex:
        """Build it from names and rows.

        Args:
            pairs: (name, row); names are normalised here, empty ones are left out.
            order: All rows in the order of their ids, int32 (rows,); by default that of their numbers.
        """
        numbers: dict[str, int] = {}
        owned, owners = array("q"), array("q")
        for name, row in pairs:
            name = normalized_name(name)
            if name:
                owned.append(numbers.setdefault(name, len(numbers)))
                owners.append(row)
        names = sorted(numbers)
        rows = np.array(owners, np.int64)
        if order is None:
            order = np.arange(rows.max(initial=-1) + 1, dtype=np.int32)
        position_of = _inverse(np.fromiter(map(numbers.__getitem__, names), np.int64, len(names)))
        # A name and a bearer make one number, so that one sort puts both in order and brings repeats together.
        packed = np.sort(position_of[np.array(owned, np.int64)].astype(np.int64) * len(order) + _inverse(order)[rows])
        positions, bearers = np.divmod(packed[run_starts(packed)], max(len(order), 1))
        starts = np.append(0, np.cumsum(np.bincount(positions, minlength=len(names)))).astype(np.int64)
        grams = GramIndex.build([name[:MAX_NAME] for name in names])
        return cls(names, order, bearers.astype(np.int32), starts, grams)

    def __len__(self) -> int:
        return len(self.names)

    def bearer_counts(self) -> npt.NDArray[np.int64]:
        """How many rows bear each name, int64 (names,)."""
        return np.diff(self._starts)

    def pairs(self) -> Iterator[tuple[str, int]]:
        """Every (normalised name, row)."""
        for position, name in enumerate(self.names):
            for row in self.order[self._bearers[self._starts[position] : self._starts[position + 1]]].tolist():
                yield name, row

    def exact(self, mention: str, limit: int | None = None) -> RowIds:
        """The rows that bear the mention as a name, in the order of their ids.

        Args:
            mention: The mention; it is compared as a whole, however long.
            limit: How many of them; by default all.
        """
        return self.order[self._bearers_of(normalized_name(mention))[:limit]].astype(np.int64)

    def search(self, mention: str, top_k: int) -> Likeness:
        """Compare a mention with every name.

        Args:
            mention: The mention.
            top_k: Rows wanted; fewer are found where fewer names share a character with it.

        Returns:
            What it is like.
        """
        name = normalized_name(mention)
        top_k = min(top_k, len(self.order))
        position = self._find(name)
        scores = self._grams.compare(name[:MAX_NAME], position)
        # What does not reach the last of the best of some names is not among the best of all.
        _, shares = self._best(scores.rare, scores.of(scores.rare), top_k)
        positions = scores.reaching(float(shares[-1]) if 0 < len(shares) == top_k else 0.0)
        ranks, shares = self._best(positions, scores.of(positions), top_k)
        return Likeness(self, scores, self._bearers_of(name), self.order[ranks].astype(np.int64), shares)

    def _best(self, positions: Positions, shares: Floats, top_k: int) -> tuple[RowIds, Floats]:
        """The ``top_k`` best bearers of some names, in the order of `best_rows`."""
        wide = _MORE * top_k
        while True:
            few = wide >= len(positions)
            best = slice(None) if few else np.flatnonzero(shares >= np.partition(shares, -wide)[-wide])
            starts, ends = self._starts[positions[best]], self._starts[positions[best] + 1]
            # Of the bearers of one name, those behind the first so many are behind them in the result too.
            counts = np.minimum(ends - starts, top_k)
            ranks, found = best_rows(
                self._bearers[_spans(starts, counts)].astype(np.int64), np.repeat(shares[best], counts), top_k
            )
            if few or len(ranks) == top_k:
                return ranks, found
            wide *= 16  # many names of few rows

    def _find(self, name: str) -> int | None:
        """The position of a normalised name; None where it is not among the names."""
        position = bisect_left(self.names, name)
        return position if position < len(self.names) and self.names[position] == name else None

    def _bearers_of(self, name: str) -> npt.NDArray[np.int32]:
        position = self._find(name)
        if position is None:
            return self._bearers[:0]
        return self._bearers[self._starts[position] : self._starts[position + 1]]

    def ranks(self, rows: RowIds) -> RowIds:
        """The positions of some rows in the order of ids, int64."""
        if self._ranks is None:
            self._ranks = _inverse(self.order)
        return self._ranks[rows].astype(np.int64)

    def names_of(self, ranks: RowIds) -> tuple[Positions, RowIds]:
        """The positions of the names of some rows, row after row, and how many each has."""
        if self._names_by_bearer is None:
            order = np.argsort(self._bearers, kind="stable").astype(np.int32)
            names = np.repeat(np.arange(len(self.names), dtype=np.int32), np.diff(self._starts))[order]
            self._names_by_bearer = (self._bearers[order], names)
        bearers, names = self._names_by_bearer
        wanted = ranks.astype(bearers.dtype)  # searching with another type would convert all bearers first
        starts = np.searchsorted(bearers, wanted, "left")
        counts = np.searchsorted(bearers, wanted, "right") - starts
        return names[_spans(starts, counts)], counts

    def save(self, path: Path) -> None:
        """Write it to one file."""
        from safetensors.numpy import save

        letters = "\n".join(self.names).encode("utf-8", "surrogatepass")
        arrays: dict[str, npt.NDArray[Any]] = {
            "names": np.frombuffer(letters, dtype=np.uint8),
            "order": self.order,
            "bearers": self._bearers,
            "starts": self._starts,
            "grams.vocabulary": self._grams.postings.vocabulary,
            "grams.starts": self._grams.postings.starts,
            "grams.places": self._grams.postings.positions,
        }
        # Not with save_file, which has an exception of its own for a full disk.
        path.write_bytes(save(arrays))

    @classmethod
    def parse(cls, data: bytes, path: Path, rows: int) -> AliasIndex:
        """Read the content of a file that `save` wrote, here or in an earlier version.

        Args:
            data: The content.
            path: The file, for an error.
            rows: Number of rows of the knowledge base.

        Raises:
            IndexFolderError: If the file is damaged, of other rows, or of another version.
        """
        from safetensors.numpy import load

        try:
            arrays = load(data)
            known = set(arrays) - _EARLIER_FIELDS == _FIELDS
            if known:
                names = _check_arrays(arrays, rows)
        except Exception as error:  # whatever safetensors says of damaged bytes
            raise IndexFolderError(f"{path} is damaged ({error}); build the index again") from None
        if not known:
            raise IndexFolderError(f"{path} was written by another version of this package; build the index again")
        postings = GramPostings(arrays["grams.vocabulary"], arrays["grams.starts"], arrays["grams.places"])
        grams = GramIndex(len(names), postings)
        return cls(names, arrays["order"], arrays["bearers"], arrays["starts"], grams)


def _check_arrays(arrays: dict[str, npt.NDArray[Any]], rows: int) -> list[str]:
    """Return the names in the arrays of a file; a ValueError if an array cannot be one of so many rows."""
    text = arrays["names"].tobytes().decode("utf-8", "surrogatepass")
    names = text.split("\n") if text else []
    bearers, postings = len(arrays["bearers"]), len(arrays["grams.places"])
    table: tuple[tuple[str, str, int | None, float, float, int | None], ...] = (
        ("names", "uint8", None, 0, 255, None),
        ("order", "int32", rows, 0, rows - 1, None),
        ("bearers", "int32", None, 0, rows - 1, None),
        ("starts", "int64", len(names) + 1, 0, bearers, 1),
        ("grams.vocabulary", "int64", None, 0, np.iinfo(np.int64).max, 1),
        ("grams.starts", "int64", len(arrays["grams.vocabulary"]) + 1, 0, postings, 1),
        ("grams.places", "int32", None, 0, len(names) - 1, None),
    )
    for name, dtype, length, least, most, step in table:
        check_array(name, arrays[name], dtype, (length,), least=least, most=most, step=step)
    for name, starts in (("bearers", "starts"), ("grams.places", "grams.starts")):
        if arrays[starts][0] != 0 or arrays[starts][-1] != len(arrays[name]):
            raise ValueError(f"{starts} does not span {name}")
        check_groups(name, arrays[name], arrays[starts])
    if rows and np.bincount(arrays["order"], minlength=rows).max() > 1:
        raise ValueError("order holds a row twice")
    if any(name >= following for name, following in pairwise(names)):
        raise ValueError("names do not rise")
    return names


class Likeness:
    """How much the names of an index are like one mention; see `NameScores`.

    Attributes:
        rows: The likest rows, the best first, equal ones in the order of their ids; int64.
        shares: Their likeness, float32.
    """

    def __init__(
        self, index: AliasIndex, scores: NameScores, namesakes: npt.NDArray[np.int32], rows: RowIds, shares: Floats
    ) -> None:
        self._index = index
        self._scores = scores
        self._namesakes = namesakes
        self.rows = rows
        self.shares = shares

    def of(self, rows: RowIds) -> Floats:
        """The likeness of the likest name of each of some rows, float32 (rows,)."""
        positions, counts = self._index.names_of(self._index.ranks(rows))
        best = np.zeros(len(rows), np.float32)
        np.maximum.at(best, np.repeat(np.arange(len(rows)), counts), self._scores.of(positions))
        return best

    def exact(self, rows: RowIds) -> npt.NDArray[np.bool_]:
        """Whether each of some rows bears the mention, whole, as a name, bool (rows,)."""
        ranks = self._index.ranks(rows).astype(np.int32)
        if not len(self._namesakes):
            return np.zeros(len(rows), np.bool_)
        positions = np.searchsorted(self._namesakes, ranks)
        same: npt.NDArray[np.bool_] = self._namesakes[np.minimum(positions, len(self._namesakes) - 1)] == ranks
        return same


def _inverse(order: npt.NDArray[np.integer]) -> npt.NDArray[np.int32]:
    positions = np.empty(len(order), np.int32)
    positions[order] = np.arange(len(order), dtype=np.int32)
    return positions


def _spans(starts: Positions, counts: Positions) -> RowIds:
    """The positions of several spans, one span after another."""
    positions: RowIds = np.arange(counts.sum()) + np.repeat(starts - (np.cumsum(counts) - counts), counts)
    return positions
