"""Opens a backend by its name."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import torch

from modelscope_plugin.checks import check_choice
from modelscope_plugin.encoding.backends.protocol import Backend, PairBackend
from modelscope_plugin.encoding.backends.torch_backend import TorchBackend, TorchPairBackend
from modelscope_plugin.errors import InputError
from modelscope_plugin.modeling.cross_encoder import CrossEncoderModel
from modelscope_plugin.modeling.dual_encoder import DualEncoder
from modelscope_plugin.types import BackendName, DtypeName, OnnxPrecision

_PRECISIONS: dict[str, OnnxPrecision] = {"onnx": "float32", "onnx-int8": "int8"}


def open_backend(
    model: DualEncoder, folder: str | Path, backend: str = "torch", dtype: str = "float32", compile: bool = False
) -> Backend:
    """Open the backend that computes the vectors of a model.

    Args:
        model: The dual encoder, on its device.
        folder: The model folder, where ONNX files are kept.
        backend: A `BackendName`.
        dtype: A `DtypeName`, for torch only.
        compile: Whether ``torch.compile`` is used, for torch only.

    Returns:
        The backend.

    Raises:
        InputError: If a name is unknown, the choices do not go together, or a library is missing.
    """
    _check_names(backend, dtype, compile)
    if backend == "torch":
        return TorchBackend(model, dtype=getattr(torch, dtype), compile=compile)
    from modelscope_plugin.encoding.backends.onnx_backend import OnnxBackend

    return OnnxBackend(model, Path(folder), _PRECISIONS[backend])


def open_pair_backend(
    model: CrossEncoderModel, folder: str | Path, backend: str = "torch", dtype: str = "float32", compile: bool = False
) -> PairBackend:
    """Open the backend that computes the scores of a cross encoder; the arguments are those of `open_backend`."""
    _check_names(backend, dtype, compile)
    if backend == "torch":
        return TorchPairBackend(model, dtype=getattr(torch, dtype), compile=compile)
    from modelscope_plugin.encoding.backends.onnx_backend import OnnxPairBackend

    return OnnxPairBackend(model, Path(folder), _PRECISIONS[backend])


def _check_names(backend: str, dtype: str, compile: bool) -> None:
    check_choice("backend", backend, get_args(BackendName))
    check_choice("dtype", dtype, get_args(DtypeName))
    if backend != "torch" and (dtype != "float32" or compile):
        raise InputError(f"dtype and compile are for the torch backend; backend {backend!r} has its own arithmetic")
