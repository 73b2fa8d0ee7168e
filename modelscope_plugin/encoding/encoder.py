"""Mentions and entity texts to vectors."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from modelscope_plugin.checks import check_integer
from modelscope_plugin.config.model_settings import ModelSettings
from modelscope_plugin.config.settings import read_settings
from modelscope_plugin.data.entity_text import entity_text
from modelscope_plugin.data.records import Entity, Mention
from modelscope_plugin.encoding.backends.loading import open_backend
from modelscope_plugin.encoding.backends.protocol import Backend
from modelscope_plugin.encoding.backends.torch_backend import TorchBackend
from modelscope_plugin.encoding.device import choose_device
from modelscope_plugin.encoding.protocol import Encoder
from modelscope_plugin.encoding.token_batches import FirstRows, make_batches
from modelscope_plugin.errors import InputTypeError
from modelscope_plugin.modeling.checkpoint_files import load_entity_tokenizer
from modelscope_plugin.modeling.compatibility import check_sizes, check_with_probe
from modelscope_plugin.modeling.dual_encoder import DualEncoder
from modelscope_plugin.modeling.fingerprint import join_fingerprint, tokenizer_digest
from modelscope_plugin.modeling.location import resolve_model
from modelscope_plugin.modeling.tokenization import EntityTokenizer
from modelscope_plugin.progress import progress_bar
from modelscope_plugin.storage.digests import digest_of
from modelscope_plugin.types import BackendName, DtypeName, Side, TokenIds, Vectors

logger = logging.getLogger(__name__)

# Texts tokenised and sorted by length together. Large enough that batches hold texts of one length, small enough that a
# knowledge base of millions never sits in memory as tokens.
_CHUNK = 8192

_Item = TypeVar("_Item")


class EntityEncoder:
    """Turns mentions and entities into vectors: a dual encoder with its tokenizer.

    It can be pickled, except with ONNX Runtime or a compiled model. Processes that use it are to be started by
    ``spawn`` or ``forkserver``: torch does not work in a process that was forked from one that has used its threads
    or a GPU.

    Args:
        model: The dual encoder.
        tokenizer: Its tokenizer and window.
        name: Where the model came from, a folder or a hub id; an index remembers it.
        backend: What computes the vectors; by default the model itself.

    Raises:
        InputError: If the window is longer than the model's position embeddings.
        ModelFolderError: If the tokenizer has ids for which the model has no embedding.
    """

    def __init__(
        self, model: DualEncoder, tokenizer: EntityTokenizer, name: str = "", backend: Backend | None = None
    ) -> None:
        check_sizes(model, tokenizer)
        self.model = model
        self.tokenizer = tokenizer
        self.name = name
        self.backend = TorchBackend(model) if backend is None else backend

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path,
        *,
        device: str | torch.device | None = None,
        max_length: int | None = None,
        revision: str | None = None,
        backend: BackendName = "torch",
        dtype: DtypeName = "float32",
        compile: bool = False,
        **settings: Any,
    ) -> EntityEncoder:
        """Load a model folder or a model of the ModelScope hub.

        Args:
            model: A folder, or a hub id such as ``owner/name``.
            device: ``cpu``, ``cuda``, ``cuda:1``, ``gpu``, ``mps`` ..., or a torch device; by default a GPU where there
                is one.
            max_length: Tokens of a window; by default what configuration.json says, else 128.
            revision: Branch or tag of a hub model.
            backend: ``torch``; ``onnx`` or ``onnx-int8`` for ONNX Runtime on the CPU, whose files are made at the
                first use and kept in the model folder.
            dtype: Arithmetic of the torch backend: ``float32``, or ``float16`` or ``bfloat16`` for GPUs.
            compile: Whether the torch backend uses ``torch.compile``, which pays for long jobs on a GPU.
            **settings: ``emb_pooler_type`` and ``normalize``, instead of what configuration.json says.

        Returns:
            The encoder, ready to encode.

        Raises:
            MissingFileError: If there is no such model.
            ModelFolderError: If a file of it is missing or damaged, or its parts do not belong together: different
                texts would get the same vector, or none.
            InputError: If ``device``, ``backend`` or a setting is not usable, or a library is missing.
        """
        folder = resolve_model(model, revision)
        chosen_device = choose_device(device, backend)
        dual_encoder = DualEncoder.from_pretrained(folder, **settings).to(chosen_device)
        tokenizer = load_entity_tokenizer(folder, max_length=max_length)
        check_with_probe(dual_encoder, tokenizer)
        name = str(folder.resolve()) if Path(model).is_dir() else str(model)
        if read_settings(ModelSettings, folder).random_weights:
            logger.warning(
                "%s has random weights, so its vectors say nothing about meaning; train it first with: "
                "modelscope entity train --model %s --kb KB --train TRAIN --out MODEL",
                name, name,
            )  # fmt: skip
        return cls(dual_encoder, tokenizer, name, open_backend(dual_encoder, folder, backend, dtype, compile))

    @property
    def dimension(self) -> int:
        """Size of the vectors."""
        return self.model.dimension

    @property
    def max_length(self) -> int:
        """Tokens of a window."""
        return self.tokenizer.max_length

    @cached_property
    def fingerprint(self) -> str:
        """Digest of all that decides a vector: weights, config.json, pooling, tokenizer and prefixes.

        Vectors of equal fingerprints can be compared. `modelscope_plugin.modeling.fingerprint.is_same_model` compares
        one with what version 0.1 recorded.

        Backend and arithmetic are no part of it: an index may be built with one and searched with another. Their
        vectors differ by rounding, those of 8 bits by some thousandths of their length.
        """
        model, tokenizer = self.model, self.tokenizer
        vocabulary = sorted(tokenizer.tokenizer.get_vocab().items())
        base = (model.weights_digest(), tokenizer.mention_prefix, tokenizer.entity_prefix, vocabulary)
        return join_fingerprint(digest_of(repr(base)), model.config_digest(), tokenizer_digest(tokenizer))

    def encode_query(
        self,
        mentions: Sequence[str | Mention],
        *,
        batch_size: int | None = None,
        show_progress_bar: bool | None = False,
    ) -> Vectors:
        """Encode mentions with the mention tower.

        Args:
            mentions: `Mention` objects, texts with a marked mention, or plain texts.
            batch_size: Texts in one forward pass; by default as many as suit the device and their length.
            show_progress_bar: True, False, or None for a bar on a terminal only.

        Returns:
            Vectors (n, dim), rows in input order.

        Raises:
            InputError: If the markers of a text are not a pair.
        """
        return self._encode("mention", mentions, self.tokenizer.mention_ids, batch_size, show_progress_bar)

    def encode_document(
        self,
        entities: Sequence[str | Entity],
        *,
        batch_size: int | None = None,
        show_progress_bar: bool | None = False,
    ) -> Vectors:
        """Encode entities with the entity tower.

        Args:
            entities: `Entity` objects or entity texts.
            batch_size: Texts in one forward pass; by default as many as suit the device and their length.
            show_progress_bar: True, False, or None for a bar on a terminal only.

        Returns:
            Vectors (n, dim), rows in input order.
        """
        return self._encode("entity", entities, self._entity_ids, batch_size, show_progress_bar)

    def _entity_ids(self, entities: Sequence[str | Entity]) -> list[TokenIds]:
        return self.tokenizer.entity_ids([entity_text(e) if isinstance(e, Entity) else e for e in entities])

    def _encode(
        self,
        side: Side,
        items: Sequence[_Item],
        tokenize: Callable[[Sequence[_Item]], list[TokenIds]],
        batch_size: int | None,
        show_progress_bar: bool | None,
    ) -> Vectors:
        if batch_size is not None:
            batch_size = check_integer("batch_size", batch_size, least=1)
        if isinstance(items, str | bytes | Mapping | Mention | Entity) or not isinstance(items, Iterable):
            raise InputTypeError(f"a list of texts is needed, not one {type(items).__name__}; put it in a list")
        items = items if isinstance(items, Sequence) else list(items)
        vectors = np.empty((len(items), self.dimension), dtype=np.float32)
        unit = "mention" if side == "mention" else "entity"
        seen = FirstRows()
        with progress_bar(len(items), "Encoding", unit, show_progress_bar) as bar:
            for start in range(0, len(items), _CHUNK):
                sequences = tokenize(items[start : start + _CHUNK])
                firsts = seen.look_up(sequences, start)
                new = [row for row, first in enumerate(firsts.tolist(), start) if row == first]
                distinct = [sequences[row - start] for row in new]
                bar.update(len(sequences) - len(new))
                with self.backend.prepare(side, sum(map(len, distinct))) as embed_batch:
                    for batch in make_batches(list(map(len, distinct)), self.backend.token_budget, batch_size):
                        padded = self.tokenizer.pad([distinct[position] for position in batch])
                        vectors[[new[position] for position in batch]] = embed_batch(**padded)
                        bar.update(len(batch))
                vectors[start : start + len(sequences)] = vectors[firsts]
        return vectors


def iterate_documents(
    encoder: Encoder, entities: Iterable[Entity], *, batch_size: int | None = None
) -> Iterator[tuple[list[Entity], Vectors]]:
    """Encode a stream of entities of any length in bounded memory.

    Args:
        encoder: The encoder.
        entities: The entities.
        batch_size: Entities in one forward pass; by default as many as suit the device and their length.

    Yields:
        Some thousand entities at a time, in input order, with their vectors.
    """
    stream = iter(entities)
    while chunk := list(islice(stream, _CHUNK)):
        yield chunk, encoder.encode_document(chunk, batch_size=batch_size)
