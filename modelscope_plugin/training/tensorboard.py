"""Figures of a training run for TensorBoard."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from modelscope_plugin.errors import InputError
from modelscope_plugin.training.context import FigureWriter


def check_tensorboard(folder: Path, *replaced: Path) -> None:
    """Raise `InputError` where TensorBoard cannot write, or would write into a folder that is replaced as a whole."""
    if importlib.util.find_spec("tensorboard") is None:
        raise InputError("TensorBoard is not installed; install it with: pip install 'modelscope_plugin[tensorboard]'")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; name a folder for TensorBoard")
    for other in replaced:
        if folder.resolve().is_relative_to(other.resolve()):
            raise InputError(f"{folder} lies in {other}, which is replaced as a whole; name a folder elsewhere")


@contextmanager
def open_tensorboard(folder: str | Path | None) -> Iterator[FigureWriter]:
    """Open a folder for TensorBoard's files; without one the figures are dropped."""
    if folder is None:
        yield lambda name, value, step: None
        return
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder)) as writer:
        yield writer.add_scalar
