"""Pairs of a mention and an entity text to scores."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch

from modelscope_plugin.checks import check_integer
from modelscope_plugin.data.entity_text import entity_text
from modelscope_plugin.data.records import Entity, Mention
from modelscope_plugin.encoding.backends.loading import open_pair_backend
from modelscope_plugin.encoding.backends.protocol import PairBackend
from modelscope_plugin.encoding.backends.torch_backend import TorchPairBackend
from modelscope_plugin.encoding.device import choose_device
from modelscope_plugin.encoding.token_batches import FirstRows, make_batches
from modelscope_plugin.errors import InputTypeError
from modelscope_plugin.modeling.checkpoint_files import load_pair_tokenizer
from modelscope_plugin.modeling.compatibility import check_pairs_with_probe, check_sizes
from modelscope_plugin.modeling.cross_encoder import CrossEncoderModel
from modelscope_plugin.modeling.fingerprint import join_fingerprint, tokenizer_digest
from modelscope_plugin.modeling.location import resolve_model
from modelscope_plugin.modeling.model_folder import write_cross_encoder_folder
from modelscope_plugin.modeling.pair_tokenization import PairTokenizer
from modelscope_plugin.progress import progress_bar
from modelscope_plugin.storage.digests import digest_of
from modelscope_plugin.types import BackendName, DtypeName, Scores

Pair: TypeAlias = "tuple[str | Mention, str | Entity] | Sequence[Any]"
"""A mention (a `Mention`, or a text with a marked mention) and an entity (an `Entity`, or its text)."""

# Pairs tokenised and sorted by length together.
_CHUNK = 8192


class CrossEncoder:
    """Scores pairs of a mention and an entity: a cross encoder with its tokenizer.

    It can be pickled, except with ONNX Runtime or a compiled model.

    Scores are logits: higher for pairs that belong together, of any sign and size.

    Args:
        model: The cross encoder.
        tokenizer: Its tokenizer and window.
        name: Where the model came from, a folder or a hub id.
        backend: What computes the scores; by default the model itself.

    Raises:
        InputError: If the window is longer than the model's position embeddings.
        ModelFolderError: If the tokenizer has ids for which the model has no embedding.
    """

    def __init__(
        self, model: CrossEncoderModel, tokenizer: PairTokenizer, name: str = "", backend: PairBackend | None = None
    ) -> None:
        check_sizes(model, tokenizer.tokenizer)
        self.model = model
        self.tokenizer = tokenizer
        self.name = name
        self.backend = TorchPairBackend(model) if backend is None else backend

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
    ) -> CrossEncoder:
        """Load a model folder or a model of the ModelScope hub.

        Args:
            model: A folder, or a hub id such as ``owner/name``, of a cross encoder saved by this package, by
                sentence-transformers or by transformers (one label), or of a BERT text-ranking model of ModelScope.
            device: ``cpu``, ``cuda``, ``cuda:1``, ``gpu``, ``mps`` ..., or a torch device; by default a GPU where there
                is one.
            max_length: Tokens of a pair; by default what configuration.json says, else what the tokenizer says,
                else 128.
            revision: Branch or tag of a hub model.
            backend: ``torch``; ``onnx`` or ``onnx-int8`` for ONNX Runtime on the CPU, whose files are made at the
                first use and kept in the model folder.
            dtype: Arithmetic of the torch backend: ``float32``, or ``float16`` or ``bfloat16`` for GPUs.
            compile: Whether the torch backend uses ``torch.compile``, which pays for long jobs on a GPU.

        Returns:
            The cross encoder, ready to score.

        Raises:
            MissingFileError: If there is no such model.
            ModelFolderError: If a file of it is missing or damaged, it has no head that scores pairs, or its parts do
                not belong together.
            InputError: If ``device``, ``backend`` or a setting is not usable, or a library is missing.
        """
        folder = resolve_model(model, revision)
        chosen_device = choose_device(device, backend)
        cross_encoder = CrossEncoderModel.from_pretrained(folder).to(chosen_device)
        tokenizer = load_pair_tokenizer(folder, max_length)
        check_pairs_with_probe(cross_encoder, tokenizer)
        name = str(folder.resolve()) if Path(model).is_dir() else str(model)
        return cls(cross_encoder, tokenizer, name, open_pair_backend(cross_encoder, folder, backend, dtype, compile))

    @property
    def max_length(self) -> int:
        """Tokens of a pair."""
        return self.tokenizer.max_length

    @cached_property
    def fingerprint(self) -> str:
        """Digest of all that decides a score: weights, config.json, tokenizer and prefixes.

        Backend and arithmetic are no part of it.
        """
        tokenizer = self.tokenizer.tokenizer
        vocabulary = sorted(tokenizer.tokenizer.get_vocab().items())
        base = (self.model.fingerprint(), tokenizer.mention_prefix, tokenizer.entity_prefix, vocabulary)
        return join_fingerprint(digest_of(repr(base)), tokenizer_digest(tokenizer))

    def predict(
        self, pairs: Sequence[Pair], *, batch_size: int | None = None, show_progress_bar: bool | None = False
    ) -> Scores:
        """Score pairs; equal pairs are scored once.

        Args:
            pairs: Pairs of a mention (a `Mention`, a text with a marked mention, or a plain text) and an entity (an
                `Entity` or its text).
            batch_size: Pairs in one forward pass; by default as many as suit the device and their length.
            show_progress_bar: True, False, or None for a bar on a terminal only.

        Returns:
            Scores, float32 (n,), in input order; they do not depend on the batches.

        Raises:
            InputError: If the markers of a text are not a pair.
            InputTypeError: If an item is not a pair, or a part of it has the wrong type.
        """
        if batch_size is not None:
            batch_size = check_integer("batch_size", batch_size, least=1)
        mentions, texts = _split_pairs(pairs)
        scores = np.empty(len(texts), dtype=np.float32)
        seen = FirstRows()
        with progress_bar(len(texts), "Scoring", "pair", show_progress_bar) as bar:
            for start in range(0, len(texts), _CHUNK):
                end = min(start + _CHUNK, len(texts))
                sequences = self.tokenizer.pair_ids(mentions[start:end], texts[start:end])
                firsts = seen.look_up([[*pair.input_ids, *pair.token_type_ids] for pair in sequences], start)
                new = [row for row, first in enumerate(firsts.tolist(), start) if row == first]
                distinct = [sequences[row - start] for row in new]
                lengths = [len(pair.input_ids) for pair in distinct]
                bar.update(len(sequences) - len(new))
                with self.backend.prepare(sum(lengths)) as score_batch:
                    for batch in make_batches(lengths, self.backend.token_budget, batch_size):
                        padded = self.tokenizer.pad([distinct[position] for position in batch])
                        scores[[new[position] for position in batch]] = score_batch(**padded)
                        bar.update(len(batch))
                scores[start:end] = scores[firsts]
        return scores

    def save_pretrained(self, folder: str | Path) -> None:
        """Write weights, tokenizer and configuration.json, so that the folder can be loaded again.

        sentence-transformers' ``CrossEncoder`` opens the folder too. It gives the same scores where the mention's side
        of a pair fits its room; where it does not, this package keeps a window centred on the mention,
        sentence-transformers the beginning of the text.

        Args:
            folder: Folder to write to; created if it does not exist.
        """
        write_cross_encoder_folder(Path(folder), self.model, self.tokenizer)


def _split_pairs(pairs: Sequence[Pair]) -> tuple[list[str | Mention], list[str]]:
    """Split pairs into mentions and entity texts."""
    if isinstance(pairs, str | bytes | Mapping | Mention | Entity) or not isinstance(pairs, Iterable):
        raise InputTypeError(f"a list of pairs is needed, not one {type(pairs).__name__}; put it in a list")
    mentions: list[str | Mention] = []
    texts: list[str] = []
    for position, pair in enumerate(pairs):
        if not isinstance(pair, Sequence) or isinstance(pair, str | bytes) or len(pair) != 2:
            raise InputTypeError(f"pair {position} must be a mention and an entity text, not {type(pair).__name__}")
        mention, entity = pair
        if not isinstance(mention, str | Mention):
            raise InputTypeError(
                f"the mention of pair {position} must be a string or a Mention, not {type(mention).__name__}"
            )
        if not isinstance(entity, str | Entity):
            raise InputTypeError(
                f"the entity of pair {position} must be a string or an Entity, not {type(entity).__name__}"
            )
        mentions.append(mention)
        texts.append(entity_text(entity) if isinstance(entity, Entity) else entity)
    return mentions, texts
