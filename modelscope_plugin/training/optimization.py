"""The optimiser of a training stage with its schedule, clipping and mixed precision."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager
from typing import Any

import torch
from transformers import get_scheduler

from modelscope_plugin.training.objective import OptimizerSettings
from modelscope_plugin.training.process_group import ProcessGroup


def autocast(mixed_precision: str, device: torch.device) -> AbstractContextManager[object]:
    """Make the context in which texts are encoded with mixed precision: ``no``, ``bf16`` or ``fp16``."""
    if mixed_precision == "no":
        return contextlib.nullcontext()
    return torch.autocast(device.type, torch.bfloat16 if mixed_precision == "bf16" else torch.float16)


class Optimization:
    """AdamW over the weights of a model.

    Args:
        model: The model, on the device of this process.
        settings: How to train.
        stage: The stage, from 1; it has a learning rate of its own.
        steps: Steps of the whole stage.
        processes: The processes that train together.
    """

    def __init__(
        self, model: torch.nn.Module, settings: OptimizerSettings, stage: int, steps: int, processes: ProcessGroup
    ) -> None:
        self._max_grad_norm = settings.max_grad_norm
        self._processes = processes
        self._parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        # Biases and layer norms, the vectors among the weights, are not decayed.
        groups = [
            {"params": [p for p in self._parameters if p.ndim > 1], "weight_decay": settings.weight_decay},
            {"params": [p for p in self._parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self._optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate_of(stage), fused=True)
        self._schedule = get_scheduler(
            settings.lr_scheduler_type, self._optimizer, int(steps * settings.warmup_ratio), steps
        )
        self._scaler = torch.amp.GradScaler(processes.device.type, enabled=settings.mixed_precision == "fp16")
        self._parts: dict[str, Any] = {
            "optimizer": self._optimizer, "schedule": self._schedule, "scaler": self._scaler
        }  # fmt: skip

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step."""
        return float(self._schedule.get_last_lr()[0])

    @property
    def has_finite_weights(self) -> bool:
        """Whether no weight is NaN or infinite."""
        return all(bool(torch.isfinite(parameter).all()) for parameter in self._parameters)

    def scale(self, gradient: torch.Tensor) -> torch.Tensor:
        """Scale a gradient so that it does not vanish in fp16."""
        return self._scaler.scale(gradient)

    def step(self) -> None:
        """Sum the gradients of all processes, clip them, change the weights and clear the gradients."""
        self._processes.sum_gradients(self._parameters)
        self._scaler.unscale_(self._optimizer)
        if self._max_grad_norm:
            torch.nn.utils.clip_grad_norm_(self._parameters, self._max_grad_norm)
        before = self._scaler.get_scale()
        self._scaler.step(self._optimizer)
        self._scaler.update()
        # A lower scale says that a gradient was infinite and the step left out.
        if self._scaler.get_scale() >= before:
            self._schedule.step()
        self._optimizer.zero_grad()

    def state_dict(self) -> dict[str, Any]:
        """The state that `load_state_dict` restores."""
        return {name: part.state_dict() for name, part in self._parts.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        for name, part in self._parts.items():
            part.load_state_dict(state[name])
