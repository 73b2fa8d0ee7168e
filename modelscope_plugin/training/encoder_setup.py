"""A checkpoint made ready for training."""

from __future__ import annotations

from pathlib import Path

import torch

from modelscope_plugin.config.training_settings import TrainingSettings
from modelscope_plugin.encoding.encoder import EntityEncoder
from modelscope_plugin.errors import InputError, TrainingError
from modelscope_plugin.modeling.checkpoint_files import entity_tokenizer, load_tokenizer
from modelscope_plugin.modeling.compatibility import check_with_probe
from modelscope_plugin.modeling.dual_encoder import DualEncoder
from modelscope_plugin.modeling.tokenization import declare_markers


def load_trainable_encoder(folder: Path, settings: TrainingSettings, device: torch.device) -> EntityEncoder:
    """Load a checkpoint with everything that training needs: markers, embeddings for them, towers, dropout.

    The random numbers are seeded first, as new embeddings are drawn.
    """
    torch.manual_seed(settings.seed)
    model = DualEncoder.from_pretrained(folder, emb_pooler_type=settings.emb_pooler_type, normalize=settings.normalize)
    tokenizer = load_tokenizer(folder)
    declare_markers(tokenizer)
    model.resize_token_embeddings(len(tokenizer))
    if settings.towers == 2:
        model.separate_towers()
    elif model.towers == 2:
        raise TrainingError(f"{folder} has two towers; set model.towers to 2 to train it")
    if settings.dropout is not None:
        set_dropout(model, settings.dropout)
    model.to(device)
    encoder = EntityEncoder(model, entity_tokenizer(tokenizer, folder, settings.max_length), str(folder))
    check_with_probe(model, encoder.tokenizer)
    return encoder


def set_dropout(model: torch.nn.Module, probability: float) -> None:
    """Set the dropout of all layers and of attention, without a change to config.json."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = probability
        for name in ("dropout", "attention_dropout", "dropout_prob"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, probability)


def check_mixed_precision(mixed_precision: str, device: torch.device) -> None:
    """Raise `InputError` where a device cannot compute in a precision."""
    if mixed_precision == "fp16" and device.type == "cpu":
        raise InputError("mixed_precision=fp16 needs a GPU; on the CPU use bf16 or no")
    if mixed_precision == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise InputError("this GPU has no bf16; use mixed_precision=fp16")
