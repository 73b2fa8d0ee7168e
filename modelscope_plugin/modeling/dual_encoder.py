"""The dual encoder: a mention tower, an entity tower, one vector each, compared by dot product.

As in BLINK (Wu et al. 2020) and in ModelScope's "BERT 实体向量-中文-通用领域-base", whose two towers share
their weights.
"""

from __future__ import annotations

import copy
import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import PreTrainedModel

from modelscope_plugin.config.configuration import read_configuration
from modelscope_plugin.config.metainfo import Models
from modelscope_plugin.config.model_settings import ModelSettings, find_model_type
from modelscope_plugin.config.settings import read_settings
from modelscope_plugin.errors import InputError, ModelFolderError
from modelscope_plugin.modeling.checkpoint import load_tower
from modelscope_plugin.modeling.checkpoint_files import quiet_transformers
from modelscope_plugin.modeling.fingerprint import add_weights, config_digest, join_fingerprint
from modelscope_plugin.modeling.pooling import check_pooler_type, needs_all_states, pool
from modelscope_plugin.types import Side

ENTITY_TOWER_FOLDER = "entity_tower"
"""Sub-folder of a model folder with the second tower; the mention tower is in the model folder itself."""

_POSITION_EMBEDDINGS = ("position_embeddings", "embed_positions", "wpe")


class DualEncoder(nn.Module):
    """Two towers that turn mentions and entities into vectors of one space.

    Args:
        mention_tower: Encoder of the mentions, of any BERT-family architecture.
        entity_tower: Encoder of the entities; by default the mention tower, so that both share weights.
        emb_pooler_type: ``cls`` (default), ``avg``, ``avg_top2`` or ``avg_first_last``.
        normalize: Whether vectors are scaled to length 1.

    Raises:
        InputError: If the pooler is unknown or the towers give vectors of different size.
    """

    def __init__(
        self,
        mention_tower: PreTrainedModel,
        entity_tower: PreTrainedModel | None = None,
        emb_pooler_type: str = "cls",
        normalize: bool = False,
    ) -> None:
        super().__init__()
        self.mention_tower = mention_tower
        self.entity_tower = mention_tower if entity_tower is None else entity_tower
        self.emb_pooler_type = check_pooler_type(emb_pooler_type)
        self.normalize = bool(normalize)
        sizes = self.mention_tower.config.hidden_size, self.entity_tower.config.hidden_size
        if sizes[0] != sizes[1]:
            raise InputError(f"the mention tower gives {sizes[0]} dimensions and the entity tower {sizes[1]}")

    @property
    def dimension(self) -> int:
        """Size of the vectors."""
        return int(self.mention_tower.config.hidden_size)

    @property
    def towers(self) -> int:
        """1 if both sides share their weights, else 2."""
        return 1 if self.entity_tower is self.mention_tower else 2

    @property
    def _distinct_towers(self) -> list[PreTrainedModel]:
        return [self.mention_tower] if self.towers == 1 else [self.mention_tower, self.entity_tower]

    @property
    def max_positions(self) -> int:
        """The longest window that the position embeddings allow."""
        return min(map(count_positions, self._distinct_towers))

    @property
    def token_embeddings(self) -> int:
        """How many tokens have an embedding."""
        return min(int(tower.get_input_embeddings().num_embeddings) for tower in self._distinct_towers)

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return next(self.parameters()).device

    def embed(self, side: Side, input_ids: torch.Tensor, attention_mask: torch.Tensor, **inputs: Any) -> torch.Tensor:
        """Turn a batch of token ids into vectors.

        Args:
            side: ``mention`` or ``entity``.
            input_ids: Token ids (n, length), int64.
            attention_mask: 1 for tokens and 0 for padding (n, length).
            **inputs: Other inputs of the tower, such as ``token_type_ids``.

        Returns:
            Vectors (n, dim), in the dtype of the weights.
        """
        tower = self.mention_tower if side == "mention" else self.entity_tower
        every = needs_all_states(self.emb_pooler_type)
        output = tower(
            input_ids=input_ids,
            attention_mask=attention_mask,
            output_hidden_states=every,
            return_dict=True,
            **inputs,
        )
        states = output.hidden_states if every else (output.last_hidden_state,)
        vectors = pool(states, attention_mask, self.emb_pooler_type)
        return functional.normalize(vectors, dim=-1) if self.normalize else vectors

    def resize_token_embeddings(self, size: int) -> None:
        """Grow the token embeddings of both towers to ``size`` tokens; they never shrink."""
        for tower in self._distinct_towers:
            if tower.get_input_embeddings().num_embeddings < size:
                tower.resize_token_embeddings(size, mean_resizing=False)

    def separate_towers(self) -> None:
        """Copy the mention tower to be the entity tower, so that they no longer share weights."""
        if self.towers == 1:
            self.entity_tower = copy.deepcopy(self.mention_tower)

    def fingerprint(self) -> str:
        """A digest of weights, pooling, normalisation and the settings of the architecture.

        The same model gives the same fingerprint whatever file format it was loaded from.
        """
        return join_fingerprint(self.weights_digest(), self.config_digest())

    def config_digest(self) -> str:
        """A digest of the settings of the architecture that decide vectors, such as the number of attention heads."""
        return "".join(config_digest(tower.config) for tower in self._distinct_towers)

    def weights_digest(self) -> str:
        """A digest of weights, pooling and normalisation."""
        digest = hashlib.blake2b(f"{self.emb_pooler_type} {self.normalize} {self.towers}".encode(), digest_size=16)
        for tower in self._distinct_towers:
            add_weights(digest, ((n, p) for n, p in tower.named_parameters() if not n.startswith("pooler.")))
        return digest.hexdigest()

    @classmethod
    def from_pretrained(cls, folder: str | Path, **settings: Any) -> DualEncoder:
        """Load a model folder.

        Args:
            folder: The folder of a dual encoder, or of any BERT-family checkpoint.
            **settings: ``emb_pooler_type`` and ``normalize``, instead of what configuration.json says; None
                changes nothing.

        Returns:
            The model, in float32 and evaluation mode.

        Raises:
            ModelFolderError: If a file is missing or damaged, configuration.json holds a value that cannot be used, or
                the folder is that of a cross encoder.
            InputError: If a setting is unknown or out of its range.
        """
        folder = Path(folder)
        if find_model_type(read_configuration(folder), folder) == Models.entity_cross_encoder:
            raise ModelFolderError(
                f"{folder} holds a cross encoder, which scores pairs and gives no vectors; name a dual encoder's folder"
            )
        configured = read_settings(ModelSettings, folder, **settings)
        mention_tower = load_tower(folder)
        entity_tower = load_tower(folder / ENTITY_TOWER_FOLDER) if configured.towers == 2 else None
        return cls(mention_tower, entity_tower, configured.emb_pooler_type, configured.normalize).eval()

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the weights as safetensors, with their config.json, into a folder."""
        with quiet_transformers():
            self.mention_tower.save_pretrained(folder)
            if self.towers == 2:
                self.entity_tower.save_pretrained(Path(folder) / ENTITY_TOWER_FOLDER)


def count_positions(tower: PreTrainedModel) -> int:
    """The longest text that the position embeddings of a tower allow."""
    for name, module in tower.named_modules():
        if isinstance(module, nn.Embedding) and name.rpartition(".")[2] in _POSITION_EMBEDDINGS:
            # RoBERTa and its kin number positions from the padding id + 1.
            return module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
    # Computed positions: what the model was trained with.
    limit = getattr(tower.config, "max_position_embeddings", None)
    return limit if isinstance(limit, int) and limit > 0 else 1 << 30
