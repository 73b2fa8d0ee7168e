"""Backends by name."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import torch

from modelscope_plugin.encoding.backends.protocol import Backend
from modelscope_plugin.encoding.backends.torch_backend import TorchBackend
from modelscope_plugin.encoding.device import choose_device
from modelscope_plugin.errors import InputError
from modelscope_plugin.modeling.dual_encoder import DualEncoder
from modelscope_plugin.types import BackendName, DtypeName


def backend_device(backend: str, device: str | None) -> torch.device:
    """Choose the device of a backend.

    Args:
        backend: A `BackendName`.
        device: As for `choose_device`.

    Returns:
        The device; the CPU for ONNX Runtime.

    Raises:
        InputError: If the device is unknown, not there, or a GPU by name for ONNX Runtime.
    """
    if backend == "torch":
        return choose_device(device)
    if device not in (None, "cpu", "gpu"):
        raise InputError(f"backend {backend!r} runs on the CPU, not on {device}; leave the device out or take torch")
    return torch.device("cpu")


def open_backend(
    model: DualEncoder, folder: str | Path, backend: str = "torch", dtype: str = "float32", compile: bool = False
) -> Backend:
    """Make the backend of a model.

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
    for option, value, known in (("backend", backend, BackendName), ("dtype", dtype, DtypeName)):
        if value not in get_args(known):
            raise InputError(f"unknown {option} {value!r}; choose from {', '.join(get_args(known))}")
    if backend == "torch":
        return TorchBackend(model, dtype=getattr(torch, dtype), compile=compile)
    if dtype != "float32" or compile:
        raise InputError(f"dtype and compile are for the torch backend; backend {backend!r} has its own arithmetic")
    from modelscope_plugin.encoding.backends.onnx_backend import OnnxBackend

    return OnnxBackend(model, Path(folder), "int8" if backend == "onnx-int8" else "float32")
