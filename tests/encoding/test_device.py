from __future__ import annotations

import pytest
import torch

from modelscope_plugin.encoding.device import choose_device
from modelscope_plugin.errors import InputError


def test_choose_device_falls_back_to_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("gpu") == choose_device(None) == torch.device("cpu")


@pytest.mark.parametrize("device", ["tpu", "cuda:99", "gpu:99", "mps:7", "xpu:7"])
def test_choose_device_names_what_is_wrong(device: str) -> None:
    with pytest.raises(InputError, match=device):
        choose_device(device)


def test_choose_device_takes_a_torch_device() -> None:
    assert choose_device(torch.device("cpu")) == torch.device("cpu")


@pytest.mark.parametrize("name", ["mps", "xpu:1"])
def test_choose_device_takes_any_device_that_torch_finds(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    device = torch.device(name)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device(device.type))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)
    assert choose_device(name) == device
    with pytest.raises(InputError, match=f"torch finds 2 {device.type} devices"):
        choose_device(f"{device.type}:2")


@pytest.mark.parametrize("device", [None, "gpu", "cpu", torch.device("cpu")])
def test_onnx_runtime_computes_on_the_cpu(device: str | torch.device | None) -> None:
    assert choose_device(device, "onnx") == torch.device("cpu")


def test_onnx_runtime_refuses_a_gpu_by_name() -> None:
    with pytest.raises(InputError, match="backend 'onnx' runs on the CPU, not on cuda"):
        choose_device("cuda", "onnx")
