"""Device names of torch and ModelScope."""

from __future__ import annotations

import torch

from modelscope_plugin.errors import InputError


def choose_device(device: str | None) -> torch.device:
    """Turn a device name into a torch device.

    Args:
        device: ``cpu``, ``cuda``, ``cuda:1``, ModelScope's ``gpu`` and ``gpu:1``, or None.

    Returns:
        The device; for ``gpu`` and None the CPU where there is no GPU, as ModelScope does.

    Raises:
        InputError: If the name is unknown or names a GPU that is not there.
    """
    name = "gpu" if device is None else str(device)
    if name == "gpu" and not torch.cuda.is_available():
        return torch.device("cpu")
    try:
        place = torch.device(name.replace("gpu", "cuda", 1) if name.startswith("gpu") else name)
    except RuntimeError:
        raise InputError(f"unknown device {device!r}; name cpu, cuda, cuda:0, gpu or gpu:0") from None
    if place.type == "cuda" and (place.index or 0) >= torch.cuda.device_count():
        raise InputError(f"device {device!r} is not there: {torch.cuda.device_count()} GPUs found; use cpu")
    return place
