"""The cross encoder: one encoder that reads a mention and an entity text together and gives a score.

As in the second step of BLINK (Wu et al. 2020) and in sentence-transformers' `CrossEncoder`.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from modelscope_plugin.errors import InputError
from modelscope_plugin.modeling.checkpoint import load_pair_model
from modelscope_plugin.modeling.checkpoint_files import quiet_transformers
from modelscope_plugin.modeling.dual_encoder import count_positions
from modelscope_plugin.modeling.fingerprint import add_weights, config_digest, join_fingerprint
from modelscope_plugin.storage.atomic_write import write_json

# What sentence-transformers applies to the logits; without it, it takes the logistic function.
_IDENTITY = "torch.nn.modules.linear.Identity"


class CrossEncoderModel(nn.Module):
    """An encoder with a head of one label, whose logit is the score of a pair.

    Args:
        model: A ``...ForSequenceClassification`` model of transformers with one label.

    Attributes:
        model: That model.
        has_token_types: Whether it tells the two segments apart by ``token_type_ids``.

    Raises:
        InputError: If the model has several labels.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        if model.config.num_labels != 1:
            raise InputError(f"a cross encoder gives one score, and this model has {model.config.num_labels} labels")
        self.model = model
        takes_types = "token_type_ids" in inspect.signature(model.forward).parameters
        # A model of one segment has an embedding for type 0 alone.
        self.has_token_types = takes_types and getattr(model.config, "type_vocab_size", 2) > 1

    @property
    def max_positions(self) -> int:
        """The longest pair that the position embeddings allow."""
        return count_positions(self.model)

    @property
    def token_embeddings(self) -> int:
        """How many tokens have an embedding."""
        return int(self.model.get_input_embeddings().num_embeddings)

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return next(self.parameters()).device

    def score(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Score a batch of pairs.

        Args:
            input_ids: Token ids (n, length), int64.
            attention_mask: 1 for tokens and 0 for padding (n, length).
            token_type_ids: Segments (n, length), int64; not used by models that have no segments.

        Returns:
            The logits (n,), in the dtype of the weights; higher for pairs that belong together.
        """
        types = {"token_type_ids": token_type_ids} if self.has_token_types and token_type_ids is not None else {}
        output: Any = self.model(input_ids=input_ids, attention_mask=attention_mask, return_dict=True, **types)
        logits: torch.Tensor = output.logits
        return logits[:, 0]

    def resize_token_embeddings(self, size: int) -> None:
        """Grow the token embeddings to ``size`` tokens; they never shrink."""
        if self.token_embeddings < size:
            self.model.resize_token_embeddings(size, mean_resizing=False)

    def fingerprint(self) -> str:
        """A digest of the weights and the settings of the architecture.

        The same model gives the same fingerprint whatever file format it was loaded from.
        """
        digest = hashlib.blake2b(b"cross encoder", digest_size=16)
        add_weights(digest, self.model.named_parameters())
        return join_fingerprint(digest.hexdigest(), config_digest(self.model.config))

    @classmethod
    def from_pretrained(cls, folder: str | Path, *, seed: int | None = None) -> CrossEncoderModel:
        """Load a model folder.

        Args:
            folder: The folder of a cross encoder, saved by this package, sentence-transformers or transformers, or of a
                BERT text-ranking model of ModelScope; with ``seed`` also of a dual encoder, whose mention tower is
                taken, or of any BERT-family checkpoint.
            seed: Seed of a new head where the folder has none; None raises there.

        Returns:
            The model, in float32 and evaluation mode.

        Raises:
            ModelFolderError: If a file is missing or damaged, or the folder has no head and ``seed`` is None.
        """
        model = load_pair_model(folder, seed)
        # Set by sentence-transformers; scores do not depend on it, and `save_pretrained` writes it anew.
        vars(model.config).pop("sentence_transformers", None)
        return cls(model).eval()

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the weights as safetensors, with their config.json, into a folder."""
        with quiet_transformers():
            self.model.save_pretrained(folder)
        path = Path(folder) / "config.json"
        config = json.loads(path.read_text(encoding="utf-8"))
        write_json(path, config | {"sentence_transformers": {"activation_fn": _IDENTITY}})
