"""The processes that train together: one, or those that ``torchrun`` has started.

Every process makes the same batch of all processes, encodes its own share of the texts, and computes the whole
loss on the vectors of all. It passes the gradient back through the vectors it encoded itself; summed over the
processes that is the gradient of one process with the whole batch.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import distributed
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from modelscope_plugin.encoding.device import choose_device
from modelscope_plugin.errors import InputError, PluginError

_T = TypeVar("_T")

# The others wait while the main process mines and evaluates, which takes hours for a large knowledge base.
_TIMEOUT = timedelta(days=2)


class ProcessGroup:
    """This process among those that train together.

    Args:
        rank: The number of this process, from 0; process 0 is the main one.
        size: How many processes there are.
        device: The device on which this process computes.
    """

    def __init__(self, rank: int, size: int, device: torch.device) -> None:
        self.rank = rank
        self.size = size
        self.device = device

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and talks to the user."""
        return self.rank == 0

    def log(self, logger: logging.Logger, level: int, message: str, *values: object) -> None:
        """Log a message once, not on every process."""
        if self.is_main:
            logger.log(level, message, *values)

    def share(self, total: int) -> range:
        """Positions of the texts that this process encodes; every n-th, so that lengths spread evenly."""
        return range(self.rank, total, self.size)

    def gather_vectors(self, vectors: torch.Tensor, total: int) -> torch.Tensor:
        """Put the vectors of all processes together.

        Args:
            vectors: Those of this process's `share`, float32 (len(share), dim), without a graph.
            total: How many there are in all.

        Returns:
            All vectors (total, dim), in the order of the texts.
        """
        if self.size == 1:
            return vectors
        rows = -(-total // self.size)
        padded = vectors.new_zeros(rows, vectors.shape[1])
        padded[: len(vectors)] = vectors
        parts = [torch.empty_like(padded) for _ in range(self.size)]
        distributed.all_gather(parts, padded)
        return torch.stack(parts, dim=1).flatten(0, 1)[:total]

    def sum_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Replace every gradient with its sum over the processes."""
        if self.size == 1:
            return
        gradients = []
        for parameter in parameters:
            # A process whose share was empty has none; it takes part with zeros.
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            gradients.append(parameter.grad)
        flat = parameters_to_vector(gradients)
        distributed.all_reduce(flat)
        vector_to_parameters(flat, gradients)

    def run_on_main(self, action: Callable[[], _T]) -> _T:
        """Run an action on the main process alone, and give its result, or its error, to all.

        Args:
            action: What to run. A `PluginError` is raised on every process; any other error on the main process
                alone, while the others wait until they are stopped.

        Returns:
            The result of the action, which has to be picklable.
        """
        if self.size == 1:
            return action()
        outcome: list[Any] = [None, None]
        if self.is_main:
            try:
                outcome[0] = action()
            except PluginError as error:
                outcome[1] = error
        distributed.broadcast_object_list(outcome, src=0, device=self.device)
        if outcome[1] is not None:
            raise outcome[1]
        result: _T = outcome[0]
        return result

    def wait(self) -> None:
        """Wait until every process has come to this point."""
        self.run_on_main(lambda: None)

    def gather_objects(self, value: _T) -> list[_T]:
        """Give every process the values of all, by rank."""
        if self.size == 1:
            return [value]
        values: list[_T] = [value] * self.size
        distributed.all_gather_object(values, value)
        return values


@contextmanager
def join_process_group(device: str | None) -> Iterator[ProcessGroup]:
    """Join the processes that ``torchrun`` has started, if it has.

    Args:
        device: As for `choose_device`; with several processes ``cpu`` or a GPU each.

    Yields:
        This process among them.

    Raises:
        InputError: If there are fewer GPUs than processes on this machine.
    """
    size, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    if size == 1:
        own = choose_device(device)
        if own.type == "cuda" and own.index:
            torch.cuda.set_device(own)
        yield ProcessGroup(0, 1, own)
        return
    own = choose_device(device.partition(":")[0] if device else None)
    if own.type == "cuda":
        local = int(os.environ.get("LOCAL_RANK", "0"))
        if local >= torch.cuda.device_count():
            raise InputError(
                f"{size} processes, but process {local} finds {torch.cuda.device_count()} GPUs; start one per GPU"
            )
        own = torch.device("cuda", local)
        torch.cuda.set_device(own)
    has_joined = distributed.is_initialized()
    if not has_joined:
        distributed.init_process_group("nccl" if own.type == "cuda" else "gloo", timeout=_TIMEOUT)
    try:
        yield ProcessGroup(rank, size, own)
    finally:
        if not has_joined:
            distributed.destroy_process_group()
