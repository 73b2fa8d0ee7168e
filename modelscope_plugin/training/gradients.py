"""The gradient of a batch, however large, in the memory of a small one.

Gradient caching (Gao et al. 2021, *Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup*): all
texts are encoded piece by piece without a graph; the loss and its gradient with respect to the vectors are computed
from these; then each piece is encoded once more, with a graph, and its part of that gradient passed back. Without
caching the first encoding keeps its graph and there is no second one; everything else is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import torch

from modelscope_plugin.modeling.dual_encoder import DualEncoder
from modelscope_plugin.modeling.tokenization import EntityTokenizer
from modelscope_plugin.training.batches import Batch
from modelscope_plugin.training.workers import Workers
from modelscope_plugin.types import Side, TokenIds

# Texts encoded together where nothing limits the memory. Texts of a batch are sorted by length, so that short pieces
# hold little padding; a GPU wants long ones.
_PIECES = {"cpu": 64, "cuda": 1024}


@dataclass
class _Piece:
    """Texts encoded together.

    Attributes:
        side: Their tower.
        inputs: Token ids and mask.
        vectors: Their vectors; with a graph unless they are to be encoded again.
        randomness: State of the random numbers before they were encoded.
    """

    side: Side
    inputs: dict[str, torch.Tensor]
    vectors: torch.Tensor
    randomness: tuple[torch.Tensor, torch.Tensor | None]


class GradientComputer:
    """Computes the loss of batches and adds their gradients to those of the model.

    Args:
        model: The dual encoder, on the device of the worker.
        tokenizer: Pads the token ids.
        loss: From mention vectors, candidate vectors, pairs and golds, and ``views`` by name, to a scalar.
        workers: The processes that share a batch.
        mini_batch_size: Texts encoded at once with caching; 0 for no caching.
        autocast: Makes the context in which texts are encoded, for mixed precision.
    """

    def __init__(
        self,
        model: DualEncoder,
        tokenizer: EntityTokenizer,
        loss: Callable[..., torch.Tensor],
        workers: Workers,
        mini_batch_size: int,
        autocast: Callable[[], AbstractContextManager[object]],
    ) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._loss = loss
        self._workers = workers
        self._mini_batch_size = mini_batch_size
        self._autocast = autocast

    def backward(self, batch: Batch, scale: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        """Add the gradient of a batch, as far as it goes through this process's share of the texts.

        Args:
            batch: The batch of all processes.
            scale: Applied to the gradient of the vectors: loss scaling, accumulation.

        Returns:
            The loss of the whole batch, a scalar without a graph.
        """
        pieces = [self._encoded("mention", batch.mentions), self._encoded("entity", batch.candidates)]
        vectors = []
        for side, texts in zip(pieces, (batch.mentions, batch.candidates), strict=True):
            own = [piece.vectors.detach().float() for piece in side]
            empty = torch.zeros(0, self._model.dimension, device=self._workers.device)
            vectors.append(self._workers.gather(torch.cat(own or [empty]), len(texts)).requires_grad_())
        device = self._workers.device
        views = None if batch.views is None else batch.views.to(device)
        loss = self._loss(vectors[0], vectors[1], batch.pairs.to(device), batch.golds.to(device), views=views)
        torch.autograd.backward(loss)
        for side, all_vectors in zip(pieces, vectors, strict=True):
            assert all_vectors.grad is not None
            gradient = scale(all_vectors.grad[list(self._workers.share(len(all_vectors)))])
            parts = torch.split(gradient, [len(piece.vectors) for piece in side])
            for piece, part in zip(side, parts, strict=True):
                self._pass_back(piece, part)
        return loss.detach()

    def _encoded(self, side: Side, texts: Sequence[TokenIds]) -> list[_Piece]:
        """Encode this process's share of the texts."""
        own = [texts[place] for place in self._workers.share(len(texts))]
        size = self._mini_batch_size or _PIECES.get(self._workers.device.type, 256)
        pieces = []
        with torch.set_grad_enabled(not self._mini_batch_size):
            for start in range(0, len(own), size):
                padded = self._tokenizer.pad(own[start : start + size])
                inputs = {name: torch.from_numpy(value).to(self._workers.device) for name, value in padded.items()}
                randomness = _random_state(self._workers.device)
                pieces.append(_Piece(side, inputs, self._embed(side, inputs), randomness))
        return pieces

    def _embed(self, side: Side, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        with self._autocast():
            return self._model.embed(side, **inputs)

    def _pass_back(self, piece: _Piece, gradient: torch.Tensor) -> None:
        vectors = piece.vectors
        if self._mini_batch_size:
            # The same dropout as the first time.
            with _replayed(piece.randomness, self._workers.device):
                vectors = self._embed(piece.side, piece.inputs)
        torch.autograd.backward(vectors, gradient.to(vectors.dtype))


def _random_state(device: torch.device) -> tuple[torch.Tensor, torch.Tensor | None]:
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None


@contextmanager
def _replayed(state: tuple[torch.Tensor, torch.Tensor | None], device: torch.device) -> Iterator[None]:
    """Set the random numbers back for a while."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.set_rng_state(state[0])
        if state[1] is not None:
            torch.cuda.set_rng_state(state[1], device)
        yield
