"""Vectors in the precision they are stored in."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from modelscope_plugin.checks import check_choice
from modelscope_plugin.errors import IndexFolderError, InputError
from modelscope_plugin.retrieval.arrays import check_array, map_array, save_array
from modelscope_plugin.types import RowIds, StoragePrecision, Vectors

PRECISIONS = get_args(StoragePrecision)

VECTORS_FILE = "vectors.npy"
SCALES_FILE = "scales.npz"
"""Beside int8 vectors: what decodes them."""

LARGEST_SCORE = 3e38
"""Scores are cut there: what is infinite could not be ordered."""

# Rows that are turned into float32 at once.
_BLOCK = 16384
# Rows that are scored at once: what stays in the processor's cache.
_SCORED = 128
# Rows that centre and spread of the dimensions are taken from.
_SAMPLE = 100_000


class VectorMatrix:
    """Vectors stored as float32, float16 or int8, perhaps memory-mapped, and read as float32.

    An int8 row is ``center + spread * scale * codes``: centre and spread of each dimension, which the first rows
    decide, and a scale of its own for each row, so that a later row of another size is not cut off.

    Args:
        dimension: Size of the vectors.
        precision: ``float32``, ``float16`` or ``int8``.

    Raises:
        InputError: If there is no such precision.
    """

    def __init__(self, dimension: int, precision: str = "float32") -> None:
        self.dimension = dimension
        self.precision = check_choice("precision", precision, PRECISIONS)
        self._blocks: list[npt.NDArray[Any]] = [np.empty((0, dimension), dtype=precision)]
        self._scales: Vectors = np.empty(0, dtype=np.float32)
        self._source: Path | None = None
        self._center: Vectors | None = None
        self._spread: Vectors | None = None

    def __len__(self) -> int:
        return sum(map(len, self._blocks))

    def __getitem__(self, rows: RowIds | slice) -> Vectors:
        """Rows as float32 (n, dim); of float32 vectors and a slice a view."""
        found = self.numbers[rows]
        if self.precision != "int8":
            return _to_float(found)
        decoded: Vectors = found * (self._scales[rows, None] * self.spread)
        return np.add(decoded, self.center, out=decoded)

    def check_finite(self, rows: RowIds | slice) -> None:
        """Raise `IndexFolderError` if some rows, read from a file, are damaged; asked when their scores are odd."""
        with np.errstate(over="ignore", invalid="ignore"):
            is_finite = np.isfinite(self[rows]).all()
        if not is_finite:
            raise IndexFolderError(
                f"{self._source or 'the index'} is damaged: a vector holds NaN or infinity; build the index again"
            )

    @property
    def numbers(self) -> npt.NDArray[Any]:
        """All rows as they are stored, (n, dim)."""
        if len(self._blocks) > 1:
            # Nothing is copied where all but one are empty.
            filled = [block for block in self._blocks if len(block)] or self._blocks[:1]
            self._blocks = [np.concatenate(filled)] if len(filled) > 1 else filled
        return self._blocks[0]

    @property
    def center(self) -> Vectors:
        """What stands for 0 in each dimension of int8 vectors, (dim,)."""
        return np.zeros(self.dimension, np.float32) if self._center is None else self._center

    @property
    def spread(self) -> Vectors:
        """How far each dimension of int8 vectors reaches beside the others, (dim,)."""
        return np.ones(self.dimension, np.float32) if self._spread is None else self._spread

    @property
    def bytes_per_vector(self) -> int:
        """What a row takes, an int8 row with its scale."""
        return int(self.numbers.itemsize) * self.dimension + (4 if self.precision == "int8" else 0)

    def add(self, vectors: Vectors) -> None:
        """Append vectors (n, dim), float32."""
        if self.precision == "int8" and len(vectors):
            if self._center is None:
                sample = vectors[:: -(-len(vectors) // _SAMPLE)]
                self._center = sample.mean(axis=0, dtype=np.float64).astype(np.float32)
                spread = sample.std(axis=0, dtype=np.float64).astype(np.float32)
                # A dimension in which the first rows do not differ may still tell later ones apart.
                self._spread = np.maximum(spread, max(float(spread.max()) / 256, 1e-12))
            codes = np.empty(vectors.shape, dtype=np.int8)
            scales = np.empty(len(vectors), dtype=np.float32)
            for start in range(0, len(vectors), _BLOCK):
                part = slice(start, start + _BLOCK)
                scaled = (vectors[part] - self.center) / self.spread
                largest = np.abs(scaled).max(axis=1)
                scales[part] = np.where(largest > 0, largest, 1) / 127
                codes[part] = np.rint(scaled / scales[part, None])
            self._blocks.append(codes)
            self._scales = np.concatenate([self._scales, scales])
        else:
            with np.errstate(over="ignore"):
                stored = vectors.astype(self.precision, copy=False)
            if self.precision == "float16" and not np.isfinite(stored).all():
                raise InputError("a vector holds numbers too large for float16; use precision int8 or float32")
            self._blocks.append(stored)

    def remove(self, rows: RowIds) -> None:
        """Take rows out; those behind them move up."""
        self._blocks = [np.delete(self.numbers, rows, axis=0)]
        if self.precision == "int8":
            self._scales = np.delete(self._scales, rows)

    def scores(self, query: Vectors, rows: RowIds) -> Vectors:
        """Dot products of one query (dim,) with some rows, float32 (n,).

        They are computed row by row, so that equal vectors have equal scores wherever they stand, and in float64, so
        that close ones are told apart under a large part that all have in common.
        """
        weights = query.astype(np.float64)
        if self.precision == "int8":
            weights *= self.spread
        scores = np.empty(len(rows))
        for start in range(0, len(rows), _SCORED):
            part = slice(start, start + _SCORED)
            np.vecdot(_to_float(self.numbers[rows[part]], np.float64), weights, out=scores[part])
        if self.precision == "int8":
            scores = scores * self._scales[rows] + np.vecdot(query, self.center, dtype=np.float64)
        if not np.isfinite(scores).all():
            self.check_finite(rows)
        return scores.clip(-LARGEST_SCORE, LARGEST_SCORE).astype(np.float32)

    def rough_scores(self, query: Vectors, rows: RowIds) -> Vectors:
        """As `scores`, but in float32: twice as fast, for choosing among candidates."""
        rough: Vectors = _to_float(self.numbers[rows])
        with np.errstate(over="ignore", invalid="ignore"):
            if self.precision == "int8":
                rough = np.vecdot(rough, query * self.spread) * self._scales[rows] + np.vecdot(query, self.center)
            else:
                rough = np.vecdot(rough, query)
        if not np.isfinite(rough).all():
            self.check_finite(rows)
        return rough

    def save(self, folder: Path) -> list[str]:
        """Write the files of the vectors into a folder and give their names."""
        save_array(folder / VECTORS_FILE, self.numbers)
        if self.precision != "int8":
            return [VECTORS_FILE]
        np.savez(folder / SCALES_FILE, scales=self._scales, center=self.center, spread=self.spread)
        return [VECTORS_FILE, SCALES_FILE]

    @classmethod
    def load(cls, folder: Path, precision: str, rows: int, dimension: int) -> VectorMatrix:
        """Open the files that `save` wrote, memory-mapped.

        Raises:
            ValueError: If a file is damaged or holds something else.
        """
        stored = cls(dimension, precision)
        stored._source = folder / VECTORS_FILE
        # Reading all vectors would take as long as a search, which notices what is not finite.
        stored._blocks = [np.asarray(map_array(stored._source, precision, (rows, dimension), are_read=False))]
        if precision == "int8":
            try:
                with np.load(folder / SCALES_FILE) as file:
                    stored._scales = check_array("scales", file["scales"], "float32", (rows,))
                    stored._center = check_array("center", file["center"], "float32", (dimension,))
                    stored._spread = check_array("spread", file["spread"], "float32", (dimension,))
            except Exception as error:  # whatever numpy and zipfile say of damaged bytes
                raise ValueError(f"{SCALES_FILE} cannot be read: {error}") from None
        return stored


def _to_float(stored: npt.NDArray[Any], kind: type[np.floating[Any]] = np.float32) -> npt.NDArray[Any]:
    """Convert stored numbers to float32 or float64."""
    if stored.dtype == np.float16:
        # Tens of times as fast as numpy, which takes them one at a time.
        import torch

        # A memory-mapped part is copied, since torch warns of memory that it could not write to.
        stored = torch.from_numpy(stored if stored.flags.writeable else stored.copy()).float().numpy()
    return stored.astype(kind, copy=False)
