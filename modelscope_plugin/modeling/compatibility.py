"""Checks that the parts of a checkpoint belong together: tokenizer, embeddings, positions, pooling."""

from __future__ import annotations

import numpy as np
import torch

from modelscope_plugin.errors import InputError, ModelFolderError
from modelscope_plugin.modeling.checkpoint_files import first_line
from modelscope_plugin.modeling.cross_encoder import CrossEncoderModel
from modelscope_plugin.modeling.dual_encoder import DualEncoder
from modelscope_plugin.modeling.pair_tokenization import PairTokenizer
from modelscope_plugin.modeling.pooling import POOLER_TYPES, needs_all_states, pool
from modelscope_plugin.modeling.tokenization import EntityTokenizer
from modelscope_plugin.types import PoolerType, Side

# Tokens of the vocabulary that are tokenised as texts.
_SAMPLES = 64
# Characters that hardly any vocabulary holds.
_UNKNOWN = "ꙮ 𓀀 🜁"
# Vectors that differ by less than this part of their largest value differ by rounding only.
_ROUNDING = 1e-6


def check_sizes(model: DualEncoder | CrossEncoderModel, tokenizer: EntityTokenizer) -> None:
    """Check the tokenizer's window and ids against the sizes of the model.

    Raises:
        InputError: If the window is longer than the model's position embeddings.
        ModelFolderError: If the tokenizer has ids for which the model has no embedding.
    """
    if tokenizer.max_length > model.max_positions:
        raise InputError(
            f"max_length={tokenizer.max_length} is more than the {model.max_positions} positions of the model"
        )
    embeddings = model.token_embeddings
    # An empty line of a vocab.txt is no token that a text could have.
    ids = {token: number for token, number in tokenizer.tokenizer.get_vocab().items() if token}
    token = max(ids, key=ids.__getitem__, default="")
    if ids and ids[token] >= embeddings:
        raise ModelFolderError(
            f"the tokenizer gives token {token!r} the id {ids[token]} and the model has {embeddings} token embeddings; "
            "restore the tokenizer files of the checkpoint, or name its special tokens as its vocabulary does"
        )


def check_with_probe(model: DualEncoder, tokenizer: EntityTokenizer) -> None:
    """Check that two different texts get different vectors, with one forward pass of a few tokens.

    The sizes are checked first, as `check_sizes` does.

    Raises:
        InputError: If the window is longer than the model's position embeddings.
        ModelFolderError: If the tokenizer does not tell texts apart, the model cannot encode a text, or its pooling
            gives different texts the same vector.
    """
    check_sizes(model, tokenizer)
    first, second = _choose_tokens(tokenizer)
    head, tail = tokenizer.special_ids
    inputs = tokenizer.pad([[*head, first, first, *tail], [*head, first, second, *tail]])
    ids, mask = (torch.from_numpy(inputs[name]).to(model.device) for name in ("input_ids", "attention_mask"))
    was_training = model.training
    model.eval()
    try:
        sides: tuple[Side, ...] = ("mention", "entity")
        for side in sides[: model.towers]:
            _check_vectors(model, side, ids, mask)
    finally:
        model.train(was_training)


def check_pairs_with_probe(model: CrossEncoderModel, tokenizer: PairTokenizer) -> None:
    """Check that two different pairs get different scores, with one forward pass of a few tokens.

    The sizes are checked first, as `check_sizes` does.

    Raises:
        InputError: If the window is longer than the model's position embeddings.
        ModelFolderError: If the tokenizer does not tell texts apart, the model cannot score a pair, or it gives
            different pairs the same score.
    """
    check_sizes(model, tokenizer.tokenizer)
    first, second = _choose_tokens(tokenizer.tokenizer)
    inputs = tokenizer.pad([tokenizer.join_ids([first], [first]), tokenizer.join_ids([first], [second])])
    name = f"the {model.model.config.model_type} model {model.model.name_or_path}".rstrip()
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            tensors = {key: torch.from_numpy(values).to(model.device) for key, values in inputs.items()}
            scores = model.score(**tensors)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        raise ModelFolderError(
            f"{name} cannot score a pair ({first_line(error)}); use an encoder of the BERT family"
        ) from error
    finally:
        model.train(was_training)
    if not torch.isfinite(scores).all():
        raise ModelFolderError(f"{name} gives scores with NaN or infinity; restore its weights and config.json")
    if scores[0] == scores[1]:
        raise ModelFolderError(f"{name} gives different pairs the same score; its weights are not usable, restore them")


def _choose_tokens(tokenizer: EntityTokenizer) -> tuple[int, int]:
    """Choose two ordinary tokens that the tokenizer tells apart when it reads their texts."""
    raw = tokenizer.tokenizer
    special = set(raw.all_special_ids)
    ordinary = sorted(number for token, number in raw.get_vocab().items() if token and number not in special)
    chosen = [ordinary[row] for row in np.linspace(0, len(ordinary) - 1, _SAMPLES).astype(int)] if ordinary else []
    texts = [raw.decode([number]).replace("##", "") for number in chosen]
    try:
        *found, _ = tokenizer.text_ids([*texts, _UNKNOWN])
    except Exception as error:
        raise ModelFolderError(
            f"the tokenizer of {raw.name_or_path or 'the model'} cannot read a text ({first_line(error)}); restore the "
            "tokenizer files of the checkpoint"
        ) from error
    seen = {ids[0]: None for ids in found if ids and ids[0] not in special}
    if len(seen) < 2:
        raise ModelFolderError(
            f"the tokenizer of {raw.name_or_path or 'the model'} ({type(raw).__name__}, {len(raw)} tokens) gives "
            "different texts the same tokens; the folder lacks the vocabulary that this class reads, or holds "
            "another one"
        )
    first, second, *_ = seen
    return first, second


def _check_vectors(model: DualEncoder, side: Side, ids: torch.Tensor, mask: torch.Tensor) -> None:
    tower = model.mention_tower if side == "mention" else model.entity_tower
    name = f"the {tower.config.model_type} model {tower.name_or_path}".rstrip()
    try:
        with torch.inference_mode():
            vectors = model.embed(side, ids, mask)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        raise ModelFolderError(
            f"{name} cannot encode a text ({first_line(error)}); use an encoder of the BERT family"
        ) from error
    if vectors.shape[1] != model.dimension:
        raise ModelFolderError(
            f"{name} gives vectors of {vectors.shape[1]} dimensions and its config.json says {model.dimension}"
        )
    if not torch.isfinite(vectors).all():
        raise ModelFolderError(f"{name} gives vectors with NaN or infinity; restore its weights and config.json")
    if _differ(vectors):
        return
    others = [pooling for pooling in POOLER_TYPES if _differ(_pool_states(model, side, ids, mask, pooling))]
    if others:
        raise ModelFolderError(
            f"{name} gives texts that begin alike the same vector with emb_pooler_type={model.emb_pooler_type!r}: "
            f"its first token does not see the others; set emb_pooler_type to {others[0]!r} (--pooling {others[0]})"
        )
    raise ModelFolderError(f"{name} gives different texts the same vector; its weights are not usable, restore them")


def _pool_states(
    model: DualEncoder, side: Side, ids: torch.Tensor, mask: torch.Tensor, pooling: PoolerType
) -> torch.Tensor:
    tower = model.mention_tower if side == "mention" else model.entity_tower
    with torch.inference_mode():
        states = tower(input_ids=ids, attention_mask=mask, output_hidden_states=True, return_dict=True).hidden_states
        return pool(states if needs_all_states(pooling) else states[-1:], mask, pooling)


def _differ(vectors: torch.Tensor) -> bool:
    first, second = vectors.float()
    return bool((first - second).abs().max() > _ROUNDING * vectors.abs().max())
