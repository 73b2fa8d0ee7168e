"""Devices by the names that torch and ModelScope have for them."""

from __future__ import annotations

import torch

from modelscope_plugin.errors import InputError
from modelscope_plugin.types import BackendName


def choose_device(device: str | torch.device | None, backend: BackendName = "torch") -> torch.device:
    """Turn the name of a device into a torch device.

    Args:
        device: ``cpu``, ``cuda``, ``cuda:1``, ``mps``, ``xpu`` or any other that torch finds, ModelScope's ``gpu`` and
            ``gpu:1``, or None.
        backend: What computes; ONNX Runtime computes on the CPU.

    Returns:
        The device; for ``gpu`` and None the CPU if there is no CUDA GPU, as ModelScope does.

    Raises:
        InputError: If torch does not know the device or does not find it, or ONNX Runtime cannot use it.
    """
    name = "gpu" if device is None else str(device)
    if backend != "torch":
        if name not in ("cpu", "gpu"):
            raise InputError(f"backend {backend!r} runs on the CPU, not on {name}; leave the device out or take torch")
        return torch.device("cpu")
    if name == "gpu" and not torch.cuda.is_available():
        return torch.device("cpu")
    try:
        chosen = torch.device(name.replace("gpu", "cuda", 1) if name.startswith("gpu") else name)
    except RuntimeError:
        raise InputError(f"unknown device {name!r}; name cpu, cuda, cuda:0, gpu, gpu:0, mps or xpu") from None
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    count = 0 if found is None or found.type != chosen.type else torch.accelerator.device_count()
    if chosen.type != "cpu" and (chosen.index or 0) >= count:
        raise InputError(f"device {name!r} is not there: torch finds {count} {chosen.type} devices; use cpu")
    return chosen
