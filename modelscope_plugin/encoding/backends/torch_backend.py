"""Vectors of texts and scores of pairs by torch, on CPU and GPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from modelscope_plugin.encoding.backends.packed_linear import can_pack, pack_cross_encoder, pack_linears
from modelscope_plugin.encoding.backends.protocol import BatchEmbedder, PairScorer, TokenMatrix
from modelscope_plugin.errors import InputTypeError
from modelscope_plugin.modeling.cross_encoder import CrossEncoderModel
from modelscope_plugin.modeling.dual_encoder import DualEncoder
from modelscope_plugin.types import Scores, Side, Vectors

# Measured for BERT of 2 x 128, 6 x 384 and 12 x 768: below it the calls cost more than the work, above it the
# intermediate states fall out of the processor's cache.
_CPU_TOKENS = 1024
# Enough to fill the largest GPUs with a BERT-base; its states take about half a gigabyte.
_GPU_TOKENS = 32768
# Packing takes a BERT-base as long as encoding some hundred tokens, and makes every token about an eighth cheaper.
_TOKENS_WORTH_PACKING = 2048


class TorchBackend:
    """Computes vectors with the model itself.

    Many texts on the CPU are encoded with weights in the order of oneDNN's matrix product, a copy that lasts as long
    as the context; see `modelscope_plugin.encoding.backends.packed_linear`.

    Args:
        model: The dual encoder; it may be trained in between.
        dtype: What matrices are multiplied in; ``float16`` and ``bfloat16`` are for GPUs. Vectors are float32.
        compile: Whether to compile the model with ``torch.compile``, which takes a minute at the first batch and a
            C++ compiler on the CPU.
    """

    def __init__(self, model: DualEncoder, *, dtype: torch.dtype = torch.float32, compile: bool = False) -> None:
        self._model = model
        self._dtype = dtype
        self._embed = torch.compile(model.embed, dynamic=True) if compile else None

    def __getstate__(self) -> dict[str, Any]:
        if self._embed is not None:
            raise InputTypeError("a compiled encoder cannot be pickled or copied; load it again in each process")
        return self.__dict__

    @property
    def token_budget(self) -> int:
        """Tokens of a batch."""
        return _token_budget(self._model.device)

    @contextmanager
    def prepare(self, side: Side, tokens: int) -> Iterator[BatchEmbedder]:
        """Put the model into evaluation mode; see `modelscope_plugin.encoding.backends.protocol.Backend`."""
        model = self._model
        with run_inference(model, self._dtype):
            embed = self._embed or model.embed
            if not self._embed and _is_worth_packing(model, self._dtype, tokens):
                embed = pack_linears(model, side).embed

            def embed_batch(input_ids: TokenMatrix, attention_mask: TokenMatrix) -> Vectors:
                ids, mask = (torch.from_numpy(array).to(model.device) for array in (input_ids, attention_mask))
                rows: Vectors = embed(side, input_ids=ids, attention_mask=mask).float().cpu().numpy()
                return rows

            yield embed_batch


class TorchPairBackend:
    """Scores pairs with the cross encoder itself; many pairs on the CPU with packed weights, as `TorchBackend` does.

    Args:
        model: The cross encoder; it may be trained in between.
        dtype: What matrices are multiplied in; ``float16`` and ``bfloat16`` are for GPUs. Scores are float32.
        compile: Whether to compile the model with ``torch.compile``.
    """

    def __init__(self, model: CrossEncoderModel, *, dtype: torch.dtype = torch.float32, compile: bool = False) -> None:
        self._model = model
        self._dtype = dtype
        self._score = torch.compile(model.score, dynamic=True) if compile else None

    def __getstate__(self) -> dict[str, Any]:
        if self._score is not None:
            raise InputTypeError("a compiled cross encoder cannot be pickled or copied; load it again in each process")
        return self.__dict__

    @property
    def token_budget(self) -> int:
        """Tokens of a batch."""
        return _token_budget(self._model.device)

    @contextmanager
    def prepare(self, tokens: int) -> Iterator[PairScorer]:
        """Put the model into evaluation mode; see `modelscope_plugin.encoding.backends.protocol.PairBackend`."""
        model = self._model
        with run_inference(model, self._dtype):
            score = self._score or model.score
            if not self._score and _is_worth_packing(model, self._dtype, tokens):
                score = pack_cross_encoder(model).score

            def score_batch(
                input_ids: TokenMatrix, attention_mask: TokenMatrix, token_type_ids: TokenMatrix | None = None
            ) -> Scores:
                ids, mask = (torch.from_numpy(array).to(model.device) for array in (input_ids, attention_mask))
                types = None if token_type_ids is None else torch.from_numpy(token_type_ids).to(model.device)
                scores: Scores = score(ids, mask, types).float().cpu().numpy()
                return scores

            yield score_batch


def _token_budget(device: torch.device) -> int:
    return _CPU_TOKENS if device.type == "cpu" else _GPU_TOKENS


def _is_worth_packing(model: nn.Module, dtype: torch.dtype, tokens: int) -> bool:
    return dtype == torch.float32 and tokens >= _TOKENS_WORTH_PACKING and can_pack(model)


@contextmanager
def run_inference(model: DualEncoder | CrossEncoderModel, dtype: torch.dtype = torch.float32) -> Iterator[None]:
    """Put a model into evaluation mode, without gradients and in the arithmetic of ``dtype``; afterwards as before."""
    was_training = model.training
    # Changing the mode of every layer takes as long as encoding a mention; most are in evaluation mode already.
    is_changed = any(module.training for module in model.modules())
    if is_changed:
        model.eval()
    try:
        mixed = dtype != torch.float32
        with torch.inference_mode(), torch.autocast(model.device.type, dtype, enabled=mixed):
            yield
    finally:
        if is_changed:
            model.train(was_training)
