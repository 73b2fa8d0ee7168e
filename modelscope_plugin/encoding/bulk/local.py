"""Many texts encoded by processes of this machine, in shards that survive an interruption."""

from __future__ import annotations

import json
import logging
import multiprocessing
import re
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import islice
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch

from modelscope_plugin.checks import check_integer
from modelscope_plugin.data.entity_text import entity_text
from modelscope_plugin.data.records import Entity, Mention
from modelscope_plugin.encoding.bulk.protocol import Item, Shard
from modelscope_plugin.encoding.encoder import EntityEncoder
from modelscope_plugin.errors import InputError, WorkerError
from modelscope_plugin.storage.atomic_write import draft_target, remove_stale_drafts, replace_file
from modelscope_plugin.storage.digests import digest_of
from modelscope_plugin.types import Side, Vectors

logger = logging.getLogger(__name__)

SHARD_SIZE = 4096
"""Texts of a shard: what an interruption costs at most, for each process."""

# Shards of a process that wait for their turn, so that reading and encoding overlap.
_WAITING = 2
_SHARD = re.compile(r"[0-9]{6,}-[0-9a-f]{32}\.npy")


class LocalBulkEncoder:
    """Encodes streams of any length, in bounded memory, into shards on disk.

    A shard is a file of vectors, written whole or not at all, whose name is a digest of its texts, the model and the
    arithmetic. A run that is started again, with the same texts in the same order, takes the shards that are there; a
    damaged one is encoded again. With several processes it starts them anew (``spawn``), so a script that uses it
    needs ``if __name__ == "__main__":``. See `modelscope_plugin.encoding.bulk.protocol.BulkEncoder`.

    Args:
        model: Model folder or hub id.
        folder: Folder of the shards; nothing else may be in it.
        processes: Processes that encode, each with a copy of the model: one for each GPU, or on the CPU as many as
            share its cores.
        **loading: Keywords of `EntityEncoder.from_pretrained`.

    Attributes:
        folder: The folder of the shards.
        encoder: The model in this process.

    Raises:
        InputError: If ``processes`` is not positive, or more than there are GPUs to be used, or needs the script to
            have ``if __name__ == "__main__":``, or ``folder`` is a file or holds files that are not shards.
        MissingFileError: If there is no such model.
    """

    def __init__(self, model: str | Path, folder: str | Path, *, processes: int = 1, **loading: Any) -> None:
        processes = check_integer("processes", processes, least=1)
        self.folder = Path(folder)
        self._check_folder()
        if processes > 1 and getattr(multiprocessing.current_process(), "_inheriting", False):
            # Each process imports the script that started it, which must not start processes there.
            raise InputError(f'a script with processes={processes} needs its work under if __name__ == "__main__":')
        self.encoder = EntityEncoder.from_pretrained(model, **loading)
        arithmetic = [loading.get("backend", "torch"), loading.get("dtype", "float32")]
        self._settings = [self.encoder.fingerprint, self.encoder.max_length, *arithmetic]
        self._workers: list[ProcessPoolExecutor] = []
        self._processes: set[BaseProcess] = set()
        self._stack = ExitStack()
        if processes > 1:
            self._start_workers(model, processes, loading)

    def _start_workers(self, model: str | Path, processes: int, loading: dict[str, Any]) -> None:
        kind = self.encoder.model.device.type
        devices = [kind] * processes
        if kind != "cpu":
            if processes > (count := torch.accelerator.device_count()):
                raise InputError(f"{processes} processes need as many GPUs; there are {count}")
            devices = [f"{kind}:{number}" for number in range(processes)]
        threads = max(1, torch.get_num_threads() // processes)
        for device in devices:
            worker = ProcessPoolExecutor(
                1,
                mp_context=multiprocessing.get_context("spawn"),
                initializer=_load_encoder,
                initargs=(str(model), {**loading, "device": device}, threads),
            )
            self._workers.append(worker)
            self._stack.callback(worker.shutdown, cancel_futures=True)

    def __enter__(self) -> LocalBulkEncoder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and not isinstance(error, Exception):  # a signal: shards under way are not waited for
            for process in self._processes:
                process.terminate()
        self._stack.close()

    def encode_shards(self, side: Side, items: Iterable[Item], *, batch_size: int | None = None) -> Iterator[Shard]:
        """Encode a stream; equal texts of a shard are encoded once."""
        stream = iter(items)
        waiting: deque[Callable[[], Shard]] = deque()
        for number, chunk in enumerate(iter(lambda: list(islice(stream, SHARD_SIZE)), [])):
            waiting.append(self._start_shard(number, side, chunk, batch_size))
            if len(waiting) >= _WAITING * len(self._workers):
                yield waiting.popleft()()
        while waiting:
            yield waiting.popleft()()

    def remove_shards(self) -> None:
        """Remove the shards; other files stay where they are."""
        remove_shards(self.folder)

    def _start_shard(self, number: int, side: Side, chunk: list[Item], batch_size: int | None) -> Callable[[], Shard]:
        """Have a shard encoded, unless it is there; returns a function that waits for it."""
        file = self.folder / f"{number:06d}-{self._digest(side, chunk)}.npy"
        vectors = _read_shard(file, (len(chunk), self.encoder.dimension))
        if vectors is not None:
            return partial(Shard, chunk, vectors, True)
        if not self._workers:
            return partial(Shard, chunk, _write_shard(self.encoder, side, chunk, file, batch_size), False)
        worker = self._workers[number % len(self._workers)]
        others = set(multiprocessing.active_children())
        try:
            with _block_interrupts():
                future = worker.submit(_encode_shard, side, chunk, file, batch_size)
        finally:  # also where a signal came to another thread and is raised here, after a process was started
            self._processes |= set(multiprocessing.active_children()) - others
        return partial(_wait_for_shard, future, chunk, file)

    def _digest(self, side: Side, chunk: Sequence[Item]) -> str:
        return digest_of(json.dumps([side, *self._settings]), *(repr(_key(item)) for item in chunk))

    def _check_folder(self) -> None:
        if self.folder.exists() and not self.folder.is_dir():
            raise InputError(f"{self.folder} is a file; move it away, the folder of that name holds shards of vectors")
        foreign = sorted(path.name for path in _list_entries(self.folder) if not _is_shard(path))
        if foreign:
            raise InputError(
                f"{self.folder} holds {foreign[0]}, which is not a shard of vectors; move it to another folder"
            )


def remove_shards(folder: Path) -> None:
    """Remove the shards in a folder, and the folder if nothing else is in it.

    Args:
        folder: The folder; it need not exist.
    """
    for path in _list_entries(folder):
        if not _is_shard(path):
            continue
        if target := draft_target(path):
            remove_stale_drafts(target)
        else:
            path.unlink(missing_ok=True)
    if folder.is_dir() and not _list_entries(folder):
        folder.rmdir()


def _list_entries(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


@contextmanager
def _block_interrupts() -> Iterator[None]:
    """Block SIGINT in processes that are started inside: a terminal sends it to all, and this process ends them."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    earlier = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, earlier)


def _is_shard(path: Path) -> bool:
    """True for a shard, and for the draft of one that a killed process has left."""
    target = draft_target(path)
    has_kind = path.is_dir() if target else path.is_file()
    return _SHARD.fullmatch((target or path).name) is not None and has_kind and not path.is_symlink()


def _key(item: Item) -> Any:
    """Return the part of an item that decides its vector."""
    if isinstance(item, Mention):
        return item.text, item.start, item.end
    return entity_text(item) if isinstance(item, Entity) else item


def _read_shard(file: Path, shape: tuple[int, int]) -> Vectors | None:
    """The vectors of a shard; None if there is no such file or it is damaged."""
    if not file.is_file():
        return None
    try:
        vectors: Vectors = np.load(file)
        if vectors.shape == shape and vectors.dtype == np.float32 and np.isfinite(vectors).all():
            return vectors
        reason = f"{vectors.dtype} of shape {vectors.shape}, or NaN or infinity, instead of float32 of shape {shape}"
    except Exception as error:  # of damaged bytes numpy raises whatever its parser does
        reason = str(error)
    logger.warning("%s is damaged (%s); it is encoded again", file, reason)
    return None


def _write_shard(
    encoder: EntityEncoder, side: Side, items: Sequence[Any], file: Path, batch_size: int | None
) -> Vectors:
    encode: Callable[..., Vectors] = encoder.encode_query if side == "mention" else encoder.encode_document
    vectors = encode(items, batch_size=batch_size)
    with replace_file(file) as draft:
        np.save(draft, vectors)
    return vectors


def _wait_for_shard(future: Future[None], chunk: list[Item], file: Path) -> Shard:
    try:
        future.result()
    except BrokenProcessPool:
        raise WorkerError(
            "a process that encodes died, perhaps for want of memory, or because the script has no if __name__ == "
            '"__main__": around its work; finished shards are kept: run the same again, with fewer processes'
        ) from None
    return Shard(chunk, np.load(file), False)


# In a worker process: its model.
_encoder: EntityEncoder | None = None


def _load_encoder(model: str, loading: dict[str, Any], threads: int) -> None:
    global _encoder
    torch.set_num_threads(threads)
    _encoder = EntityEncoder.from_pretrained(model, **loading)


def _encode_shard(side: Side, items: list[Any], file: Path, batch_size: int | None) -> None:
    assert _encoder is not None
    _write_shard(_encoder, side, items, file, batch_size)
