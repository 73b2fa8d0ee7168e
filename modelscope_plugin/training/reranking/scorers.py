"""The re-rankers in training: how each of them scores the candidates of mentions, and its folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch

from modelscope_plugin.config.configuration import default_configuration, merge_configurations
from modelscope_plugin.config.metainfo import Models, Tasks
from modelscope_plugin.config.reranking_settings import RerankingSettings
from modelscope_plugin.config.training_settings import TrainingSettings, read_training_configuration
from modelscope_plugin.data.records import Mention
from modelscope_plugin.encoding.encoder import EntityEncoder
from modelscope_plugin.modeling.late_interaction import max_sim, pad_tokens, token_vectors
from modelscope_plugin.modeling.model_folder import write_model_folder
from modelscope_plugin.training.encoder_setup import load_trainable_encoder


class TrainableScorer(Protocol):
    """A model that scores the candidates of mentions and can be trained."""

    @property
    def model(self) -> torch.nn.Module:
        """The model, on its device."""
        ...

    @property
    def fingerprint(self) -> str:
        """A digest of what decides the scores."""
        ...

    def score(self, mentions: Sequence[Mention], texts: Sequence[str], lists: Sequence[Sequence[int]]) -> torch.Tensor:
        """Score lists of candidates.

        Args:
            mentions: The mentions, n.
            texts: Entity texts, each once.
            lists: For each mention the positions of its candidates in ``texts``; none is empty.

        Returns:
            Scores (n, longest list), float32, -inf for padding; differentiable.
        """
        ...

    def write_folder(self, folder: Path, sections: Mapping[str, Any]) -> None:
        """Write the model folder, with these sections in its configuration.json."""
        ...


def pad_lists(lists: Sequence[Sequence[int]]) -> torch.Tensor:
    """Lists of positions as one tensor, int64 (n, longest), -1 for padding."""
    rows = [torch.tensor(one, dtype=torch.int64) for one in lists]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-1)


class LateInteractionScorer:
    """Token vectors of a dual encoder, compared token by token; see `modelscope_plugin.modeling.late_interaction`.

    Args:
        folder: Folder of a dual encoder, or of any BERT-family checkpoint.
        settings: How to train.
        device: The device of this process.
    """

    def __init__(self, folder: Path, settings: RerankingSettings, device: torch.device) -> None:
        configuration = read_training_configuration(folder)
        changes = {"seed": settings.seed, "dropout": settings.dropout, "max_length": settings.max_length}
        own = TrainingSettings.from_configuration(configuration, **changes)
        self._encoder = load_trainable_encoder(folder, own, device)
        self._temperature = settings.temperature

    @property
    def model(self) -> torch.nn.Module:
        """The dual encoder."""
        return self._encoder.model

    @property
    def fingerprint(self) -> str:
        """That of the dual encoder."""
        return EntityEncoder(self._encoder.model, self._encoder.tokenizer).fingerprint

    def score(self, mentions: Sequence[Mention], texts: Sequence[str], lists: Sequence[Sequence[int]]) -> torch.Tensor:
        """Score lists of candidates; each mention and each text is encoded once."""
        columns = pad_lists(lists).to(self._encoder.model.device)
        mention_vectors, mention_mask = self._encode("mention", self._encoder.tokenizer.mention_ids(mentions))
        entity_vectors, entity_mask = self._encode("entity", self._encoder.tokenizer.entity_ids(texts))
        known = columns.clamp(min=0)
        scores = max_sim(
            mention_vectors[:, None], mention_mask[:, None], entity_vectors[known], entity_mask[known]
        ).float()
        return (scores / self._temperature).masked_fill(columns < 0, -torch.inf)

    def _encode(self, side: Any, sequences: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        model = self._encoder.model
        inputs = {
            name: value.to(model.device) for name, value in pad_tokens(self._encoder.tokenizer, side, sequences).items()
        }
        mask = inputs.pop("token_mask")
        return token_vectors(model, side, **inputs), mask

    def write_folder(self, folder: Path, sections: Mapping[str, Any]) -> None:
        """Write the folder of a dual encoder whose task is ranking."""
        own = {"task": Tasks.text_ranking, "model": {"type": Models.entity_late_interaction}}
        configuration = merge_configurations(merge_configurations(default_configuration(), sections), own)
        write_model_folder(folder, self._encoder.model, self._encoder.tokenizer, configuration)
