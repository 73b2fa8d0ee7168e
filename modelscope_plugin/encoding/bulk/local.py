"""Large jobs: texts encoded in shards that survive an interruption, by one process or several."""

from __future__ import annotations

import json
import multiprocessing
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch

from modelscope_plugin.checks import check_integer
from modelscope_plugin.data.entity_text import entity_text
from modelscope_plugin.data.records import Entity, Mention
from modelscope_plugin.encoding.encoder import EntityEncoder
from modelscope_plugin.errors import InputError, WorkerError
from modelscope_plugin.storage.digests import digest_of
from modelscope_plugin.storage.files import replace_file
from modelscope_plugin.types import Side, Vectors

Item: TypeAlias = "str | Mention | Entity"

SHARD_SIZE = 4096
"""Texts of a shard: what an interruption costs at most, for each process."""

# Shards of a process that wait for their turn, so that reading and encoding overlap.
_WAITING = 2
# Names of the files that a job writes: a shard, and one that a killed process has left half written.
_SHARD = re.compile(r"[0-9]{6,}-[0-9a-f]{32}\.npy|\.[0-9]{6,}-[0-9a-f]{32}\.npy\.[0-9]+\.part")


class Shard(NamedTuple):
    """Some texts of a job with their vectors.

    Attributes:
        items: The texts, in input order.
        vectors: Their vectors (n, dim).
        was_there: Whether an earlier run had encoded them.
    """

    items: list[Any]
    vectors: Vectors
    was_there: bool


class EncodingJob:
    """Encodes streams of any length, in bounded memory, into shards on disk.

    A shard is a file of vectors, written whole or not at all, whose name is a digest of its texts, the model and the
    arithmetic. A job that is started again, with the same texts in the same order, takes the shards that are there.
    Use it as a context manager: its worker processes end with it. With several processes it starts them anew
    (``spawn``), so a script that uses it needs ``if __name__ == "__main__":``.

    Args:
        model: Model folder or hub id.
        folder: Folder of the shards; nothing else may be in it.
        processes: Processes that encode, each with a copy of the model: one for each GPU, or on the CPU as many as
            share its cores.
        **loading: Keywords of `EntityEncoder.from_pretrained`.

    Raises:
        InputError: If ``processes`` is not positive, or more than there are GPUs to be used, or ``folder`` is a file
            or holds files that are no shards.
        MissingFileError: If there is no such model.
    """

    def __init__(self, model: str | Path, folder: str | Path, *, processes: int = 1, **loading: Any) -> None:
        processes = check_integer("processes", processes, least=1)
        self.folder = Path(folder)
        self._check_folder()
        self.encoder = EntityEncoder.from_pretrained(model, **loading)
        arithmetic = [loading.get("backend", "torch"), loading.get("dtype", "float32")]
        self._settings = [self.encoder.fingerprint, self.encoder.tokenizer.max_length, *arithmetic]
        self._workers: list[ProcessPoolExecutor] = []
        self._stack = ExitStack()
        if processes > 1:
            self._start(model, processes, loading)

    def _start(self, model: str | Path, processes: int, loading: dict[str, Any]) -> None:
        devices = ["cpu"] * processes
        if self.encoder.model.device.type == "cuda":
            if processes > torch.cuda.device_count():
                raise InputError(f"{processes} processes need as many GPUs; there are {torch.cuda.device_count()}")
            devices = [f"cuda:{number}" for number in range(processes)]
        threads = max(1, torch.get_num_threads() // processes)
        for device in devices:
            worker = ProcessPoolExecutor(
                1,
                mp_context=multiprocessing.get_context("spawn"),
                initializer=_start_worker,
                initargs=(str(model), {**loading, "device": device}, threads),
            )
            self._workers.append(worker)
            self._stack.callback(worker.shutdown, cancel_futures=True)

    def __enter__(self) -> EncodingJob:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def shards(self, side: Side, items: Iterable[Item], *, batch_size: int | None = None) -> Iterator[Shard]:
        """Encode a stream.

        Args:
            side: ``mention`` or ``entity``.
            items: The texts; equal texts of a shard are encoded once.
            batch_size: Texts in one forward pass; by default as many as suit the device.

        Yields:
            The shards, in input order.

        Raises:
            WorkerError: If a worker process died.
        """
        stream = iter(items)
        started: deque[tuple[list[Item], Path, Future[None] | None]] = deque()
        number = 0
        while True:
            while len(started) < max(1, _WAITING * len(self._workers)):
                chunk = list(islice(stream, SHARD_SIZE))
                if not chunk:
                    break
                file = self.folder / f"{number:06d}-{self._digest(side, chunk)}.npy"
                started.append((chunk, file, self._submit(number, side, chunk, file, batch_size)))
                number += 1
            if not started:
                return
            chunk, file, future = started.popleft()
            if future is not None:
                _wait(future)
            yield Shard(chunk, np.load(file), future is None)

    def _submit(
        self, number: int, side: Side, chunk: list[Item], file: Path, batch_size: int | None
    ) -> Future[None] | None:
        """Have a shard encoded; None where it is there."""
        if file.is_file():
            return None
        if self._workers:
            return self._workers[number % len(self._workers)].submit(_work, side, chunk, file, batch_size)
        done: Future[None] = Future()
        write_shard(self.encoder, side, chunk, file, batch_size)
        done.set_result(None)
        return done

    def _digest(self, side: Side, chunk: Sequence[Item]) -> str:
        return digest_of(json.dumps([side, *self._settings]), *(repr(_key(item)) for item in chunk))

    def _check_folder(self) -> None:
        if self.folder.exists() and not self.folder.is_dir():
            raise InputError(f"{self.folder} is a file; move it away, the folder of that name holds shards of vectors")
        foreign = sorted(path.name for path in self._entries() if not _is_shard(path))
        if foreign:
            raise InputError(
                f"{self.folder} holds {foreign[0]}, which is no shard of vectors; move it to another folder"
            )

    def remove(self) -> None:
        """Remove the shards, when what they were made for is written; other files stay where they are."""
        for path in self._entries():
            if _is_shard(path):
                path.unlink(missing_ok=True)
        if self.folder.is_dir() and not self._entries():
            self.folder.rmdir()

    def _entries(self) -> list[Path]:
        return list(self.folder.iterdir()) if self.folder.is_dir() else []


def write_shard(encoder: EntityEncoder, side: Side, items: Sequence[Any], file: Path, batch_size: int | None) -> None:
    """Encode texts into a file of vectors, written whole or not at all."""
    encode: Callable[..., Vectors] = encoder.encode_query if side == "mention" else encoder.encode_document
    vectors = encode(items, batch_size=batch_size)
    with replace_file(file) as draft, open(draft, "wb") as stream:
        np.save(stream, vectors)


def _is_shard(path: Path) -> bool:
    return _SHARD.fullmatch(path.name) is not None and path.is_file() and not path.is_symlink()


def _key(item: Item) -> Any:
    """What of an item decides its vector."""
    if isinstance(item, Mention):
        return item.text, item.start, item.end
    return entity_text(item) if isinstance(item, Entity) else item


def _wait(future: Future[None]) -> None:
    try:
        future.result()
    except BrokenProcessPool:
        raise WorkerError(
            "a process that encodes died, perhaps for want of memory; finished shards are kept: run the same again, "
            "with fewer processes"
        ) from None


_encoder: EntityEncoder | None = None


def _start_worker(model: str, loading: dict[str, Any], threads: int) -> None:
    global _encoder
    torch.set_num_threads(threads)
    _encoder = EntityEncoder.from_pretrained(model, **loading)


def _work(side: Side, items: list[Any], file: Path, batch_size: int | None) -> None:
    assert _encoder is not None
    write_shard(_encoder, side, items, file, batch_size)
