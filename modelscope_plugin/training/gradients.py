"""The gradient of a batch, however large, in the memory of a small one.

Gradient caching (Gao et al. 2021, *Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup*): all
texts are encoded piece by piece without a graph; the loss and its gradient with respect to the vectors are computed
from these; then each piece is encoded once more, with a graph, and its part of that gradient passed back. Without
caching the first encoding keeps its graph and there is no second one; everything else is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch

from modelscope_plugin.modeling.dual_encoder import DualEncoder
from modelscope_plugin.modeling.tokenization import EntityTokenizer
from modelscope_plugin.training.epoch_batches import Batch
from modelscope_plugin.training.process_group import ProcessGroup
from modelscope_plugin.training.random_state import RandomState, fork_random_state, get_random_state
from modelscope_plugin.types import Side, TokenIds

# Texts encoded together where nothing limits the memory. Texts of a batch are sorted by length, so that short pieces
# hold little padding; a GPU wants long ones.
_PIECES = {"cpu": 64, "cuda": 1024}


@dataclass
class _Piece:
    """Texts encoded together; their vectors have a graph unless they are to be encoded again."""

    side: Side
    inputs: dict[str, torch.Tensor]
    vectors: torch.Tensor
    random_state: RandomState  # before they were encoded


class GradientComputer:
    """Computes the loss of batches and adds their gradients to those of the model.

    Args:
        model: The dual encoder, on the device of this process.
        tokenizer: Pads the token ids.
        loss: From mention vectors, candidate vectors, pairs and golds, and ``views`` by name, to a scalar.
        processes: The processes that share a batch.
        mini_batch_size: Texts encoded at once with caching; 0 for no caching.
        autocast: Makes the context in which texts are encoded, for mixed precision.
    """

    def __init__(
        self,
        model: DualEncoder,
        tokenizer: EntityTokenizer,
        loss: Callable[..., torch.Tensor],
        processes: ProcessGroup,
        mini_batch_size: int,
        autocast: Callable[[], AbstractContextManager[object]],
    ) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._loss = loss
        self._processes = processes
        self._mini_batch_size = mini_batch_size
        self._autocast = autocast

    def backward(self, batch: Batch, scale: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        """Add the gradient of a batch, through the texts that this process encodes.

        Args:
            batch: The batch of all processes.
            scale: Applied to the gradient of the vectors: loss scaling, accumulation.

        Returns:
            The loss of the whole batch, a scalar without a graph.
        """
        pieces = [self._encode("mention", batch.mentions), self._encode("entity", batch.candidates)]
        vectors = []
        for side, texts in zip(pieces, (batch.mentions, batch.candidates), strict=True):
            own = [piece.vectors.detach().float() for piece in side]
            empty = torch.zeros(0, self._model.dimension, device=self._processes.device)
            vectors.append(self._processes.gather_vectors(torch.cat(own or [empty]), len(texts)).requires_grad_())
        device = self._processes.device
        views = None if batch.views is None else batch.views.to(device)
        loss = self._loss(vectors[0], vectors[1], batch.pairs.to(device), batch.golds.to(device), views=views)
        torch.autograd.backward(loss)
        for side, all_vectors in zip(pieces, vectors, strict=True):
            assert all_vectors.grad is not None
            gradient = scale(all_vectors.grad[list(self._processes.share(len(all_vectors)))])
            parts = torch.split(gradient, [len(piece.vectors) for piece in side])
            for piece, part in zip(side, parts, strict=True):
                self._pass_back(piece, part)
        return loss.detach()

    def _encode(self, side: Side, texts: Sequence[TokenIds]) -> list[_Piece]:
        """Encode this process's share of the texts."""
        own = [texts[position] for position in self._processes.share(len(texts))]
        size = self._mini_batch_size or _PIECES.get(self._processes.device.type, 256)
        pieces = []
        with torch.set_grad_enabled(not self._mini_batch_size):
            for start in range(0, len(own), size):
                padded = self._tokenizer.pad(own[start : start + size])
                inputs = {name: torch.from_numpy(value).to(self._processes.device) for name, value in padded.items()}
                random_state = get_random_state(self._processes.device)
                pieces.append(_Piece(side, inputs, self._embed(side, inputs), random_state))
        return pieces

    def _embed(self, side: Side, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        with self._autocast():
            return self._model.embed(side, **inputs)

    def _pass_back(self, piece: _Piece, gradient: torch.Tensor) -> None:
        vectors = piece.vectors
        if self._mini_batch_size:
            # The same dropout as the first time.
            with fork_random_state(self._processes.device, piece.random_state):
                vectors = self._embed(piece.side, piece.inputs)
        torch.autograd.backward(vectors, gradient.to(vectors.dtype))
