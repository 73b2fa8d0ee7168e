"""Late interaction: the token vectors of a dual encoder, compared token by token.

As in ColBERT (Khattab and Zaharia 2020): each token of the mention looks for the token of the entity text that is most
like it. Entity tokens are encoded apart from the mention, so that they can be kept; the comparison is a matrix product.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from modelscope_plugin.data.markers import MENTION_END, MENTION_START
from modelscope_plugin.modeling.dual_encoder import DualEncoder
from modelscope_plugin.modeling.tokenization import EntityTokenizer
from modelscope_plugin.types import Side, TokenIds


def pad_tokens(tokenizer: EntityTokenizer, side: Side, sequences: Sequence[TokenIds]) -> dict[str, torch.Tensor]:
    """Pad sequences and mark the tokens that are compared.

    Of a mention these are the tokens between the markers, whose states have read the context; where there are no
    markers, and of an entity text, all but those in front of and behind every text ([CLS], [SEP]). With models trained
    for one vector each, the other tokens of the context say little about the entity and drown those of the mention.

    Args:
        tokenizer: The tokenizer that made the sequences.
        side: ``mention`` or ``entity``.
        sequences: Token ids of `EntityTokenizer.mention_ids` or `EntityTokenizer.entity_ids`, at least one sequence.

    Returns:
        ``input_ids`` and ``attention_mask``, int64, and ``token_mask``, bool, True for the tokens that are compared;
        each of shape (n, longest).
    """
    padded = tokenizer.pad(sequences)
    head, tail = tokenizer.special_ids
    start, end = tokenizer.text_ids([MENTION_START, MENTION_END])
    mask: npt.NDArray[np.bool_] = np.zeros(padded["input_ids"].shape, dtype=np.bool_)
    for row, ids in enumerate(sequences):
        first, behind = len(head), len(ids) - len(tail)
        if side == "mention":
            opening = _find(ids, start, first)
            closing = _find(ids, end, first if opening is None else opening + len(start))
            if opening is not None and closing is not None:
                first, behind = opening + len(start), closing
        # An empty text has no other tokens than those.
        mask[row, first:behind] = True
        if first >= behind:
            mask[row, : len(ids)] = True
    arrays = {**padded, "token_mask": mask}
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def token_vectors(
    model: DualEncoder, side: Side, input_ids: torch.Tensor, attention_mask: torch.Tensor
) -> torch.Tensor:
    """Compute the token vectors of a batch: the states of the last layer, each scaled to length 1.

    Args:
        model: The dual encoder.
        side: ``mention`` or ``entity``.
        input_ids: Token ids (n, length), int64.
        attention_mask: 1 for tokens and 0 for padding (n, length).

    Returns:
        Token vectors (n, length, dim) in the dtype of the weights; those of padding mean nothing.
    """
    tower = model.mention_tower if side == "mention" else model.entity_tower
    states = tower(input_ids=input_ids, attention_mask=attention_mask, return_dict=True).last_hidden_state
    return functional.normalize(states, dim=-1)


def max_sim(
    mention_vectors: torch.Tensor, mention_mask: torch.Tensor, entity_vectors: torch.Tensor, entity_mask: torch.Tensor
) -> torch.Tensor:
    """Score entities for mentions: the mean over the mention's tokens of the dot product with the best entity token.

    Leading dimensions are broadcast: (n, 1, ...) against (n, k, ...) scores k candidates of each of n mentions, and
    (n, 1, ...) against (1, m, ...) all pairs.

    Args:
        mention_vectors: Token vectors (..., mention length, dim).
        mention_mask: True for the tokens that count (..., mention length); at least one of each mention.
        entity_vectors: Token vectors (..., entity length, dim).
        entity_mask: True for the tokens that count (..., entity length); at least one of each entity.

    Returns:
        Scores (...), -1 to 1 for vectors of length 1; differentiable.
    """
    products = mention_vectors @ entity_vectors.transpose(-1, -2)
    products = products.masked_fill(~entity_mask.bool().unsqueeze(-2), float("-inf"))
    weights = mention_mask.to(products.dtype)
    return (products.amax(-1) * weights).sum(-1) / weights.sum(-1)


def _find(ids: TokenIds, marker: TokenIds, first: int) -> int | None:
    """The position of the tokens of a marker from ``first`` on; None where they are not there."""
    for position in range(first, len(ids) - len(marker) + 1):
        if ids[position : position + len(marker)] == marker:
            return position
    return None
