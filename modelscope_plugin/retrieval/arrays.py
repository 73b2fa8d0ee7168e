"""Arrays of an index folder: written plainly, and checked when they are opened.

Compiled code follows the numbers of these arrays without looking at them, so none is used before its type, shape and
range are known to be right.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def check_array(
    name: str,
    array: Array,
    dtype: str,
    shape: tuple[int | None, ...],
    *,
    least: float | None = None,
    most: float | None = None,
    step: int | None = None,
    are_read: bool = True,
) -> Array:
    """Return an array that is what it should be; floating-point numbers must be finite.

    Args:
        name: What the array is called in an error.
        array: The array.
        dtype: Its type.
        shape: Its shape; None for any length.
        least: The smallest value allowed.
        most: The largest value allowed.
        step: By how much each value is larger than the one before, at least.
        are_read: Whether the values are looked at, and not only type and shape.

    Raises:
        ValueError: If it is something else.
    """
    lengths = len(shape) == array.ndim and all(
        wanted in (None, found) for wanted, found in zip(shape, array.shape, strict=True)
    )
    if array.dtype != np.dtype(dtype) or not lengths or not array.flags.c_contiguous:
        wanted = " x ".join("n" if length is None else str(length) for length in shape)
        raise ValueError(f"{name} is not an array of {wanted} {dtype} but of {array.shape} {array.dtype}")
    if array.size and are_read:
        low, high = array.min(), array.max()
        if not (np.isfinite(low) and np.isfinite(high)):
            raise ValueError(f"{name} holds NaN or infinity")
        if (least is not None and low < least) or (most is not None and high > most):
            raise ValueError(f"{name} holds values from {low} to {high}, outside {least} to {most}")
    if step is not None and (array[1:] - array[:-1] < step).any():
        raise ValueError(f"{name} does not rise")
    return array


def check_groups(name: str, array: Array, starts: Array) -> None:
    """Raise `ValueError` unless the values of each group rise; ``starts`` is where groups begin."""
    falls = np.flatnonzero(array[1:] <= array[:-1]) + 1
    if not np.isin(falls, starts).all():
        raise ValueError(f"{name} does not rise in each group")


def map_array(path: Path, dtype: str, shape: tuple[int | None, ...], **limits: Any) -> Array:
    """Memory-map a ``.npy`` file of this package.

    Args:
        path: The file.
        dtype: As for `check_array`; so are ``shape`` and ``limits``.
        shape: Its shape.
        **limits: Limits of its values.

    Raises:
        ValueError: If the file is damaged or holds something else.
    """
    try:
        array = np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # whatever numpy says of damaged bytes, a syntax error among it
        raise ValueError(f"{path.name} cannot be read: {error}") from None
    return check_array(path.name, array, dtype, shape, **limits)


def save_array(path: Path, array: Array) -> None:
    """Write a ``.npy`` file as `numpy.save` does, but with the error of the system where the disk is full."""
    array = np.ascontiguousarray(array)
    with open(path, "wb") as stream:
        np.lib.format.write_array_header_1_0(stream, np.lib.format.header_data_from_array_1_0(array))
        stream.write(array.data)
