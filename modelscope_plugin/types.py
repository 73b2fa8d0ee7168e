"""Types that several rooms share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:  # the command line takes its choices from here, and its --help does not wait for numpy
    import numpy as np
    import numpy.typing as npt

Vectors: TypeAlias = "npt.NDArray[np.float32]"
"""float32, C-contiguous, shape (n, dim), rows in input order."""

Scores: TypeAlias = "npt.NDArray[np.float32]"
"""float32, shape (n,), in input order; higher is better."""

RowIds: TypeAlias = "npt.NDArray[np.int64]"
"""Row numbers, int64, shape (n,) or (n, k)."""

TokenIds: TypeAlias = list[int]
"""The token ids of one text, special tokens included, without padding."""

TokenVectors: TypeAlias = "npt.NDArray[np.float16]"
"""float16, shape (tokens, dim): the vectors of the tokens of one text."""

Side: TypeAlias = Literal["mention", "entity"]
"""Which of the two towers."""

PoolerType: TypeAlias = Literal["cls", "avg", "avg_top2", "avg_first_last"]
"""How token states become one vector: that of [CLS], or the mean of the last, last two, or first and last layers."""

BackendName: TypeAlias = Literal["torch", "onnx", "onnx-int8"]
"""``torch``; ``onnx``, ONNX Runtime in float32; ``onnx-int8``, ONNX Runtime with weights and activations of 8 bits."""

DtypeName: TypeAlias = Literal["float32", "float16", "bfloat16"]
"""Arithmetic of the torch backend; vectors are float32 in any case."""

OnnxPrecision: TypeAlias = Literal["float32", "int8"]
"""Arithmetic of an ONNX file: ``int8`` has weights of 8 bits and quantises activations as they come."""

StoragePrecision: TypeAlias = Literal["float32", "float16", "int8"]
"""What the vectors of an index are stored as."""

Retrieval: TypeAlias = Literal["dense", "lexical", "hybrid"]
"""By vectors, by names, or by both."""
