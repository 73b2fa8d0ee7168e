"""The re-rankers in training: how each of them scores the candidates of mentions, and its folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch

from modelscope_plugin.config.configuration import default_configuration, merge_configurations, read_configuration
from modelscope_plugin.config.metainfo import Models, Tasks
from modelscope_plugin.config.model_settings import find_model_type
from modelscope_plugin.config.reranking_settings import RerankingSettings
from modelscope_plugin.config.training_settings import TrainingSettings, read_training_configuration
from modelscope_plugin.data.records import Mention
from modelscope_plugin.encoding.cross_encoder import CrossEncoder
from modelscope_plugin.encoding.encoder import EntityEncoder
from modelscope_plugin.encoding.token_batches import make_batches
from modelscope_plugin.linking.reranking.cross_encoder import CrossEncoderReranker
from modelscope_plugin.linking.reranking.late_interaction import LateInteraction
from modelscope_plugin.linking.reranking.protocol import Reranker
from modelscope_plugin.modeling.checkpoint_files import entity_tokenizer, load_tokenizer
from modelscope_plugin.modeling.compatibility import check_pairs_with_probe
from modelscope_plugin.modeling.cross_encoder import CrossEncoderModel
from modelscope_plugin.modeling.late_interaction import max_sim, pad_tokens, token_vectors
from modelscope_plugin.modeling.model_folder import write_cross_encoder_folder, write_model_folder
from modelscope_plugin.modeling.pair_tokenization import PairTokenizer
from modelscope_plugin.modeling.tokenization import declare_markers
from modelscope_plugin.training.encoder_setup import load_trainable_encoder, set_dropout
from modelscope_plugin.types import Side, TokenIds

# Tokens of the pairs in one forward pass.
_BUDGET = {"cpu": 8192}
_GPU_BUDGET = 131072


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

    def make_reranker(self) -> Reranker:
        """What the linker would rank with, given the weights of now."""
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
        return self.make_reranker().encoder.fingerprint

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

    def _encode(self, side: Side, sequences: list[TokenIds]) -> tuple[torch.Tensor, torch.Tensor]:
        model = self._encoder.model
        inputs = {
            name: value.to(model.device) for name, value in pad_tokens(self._encoder.tokenizer, side, sequences).items()
        }
        mask = inputs.pop("token_mask")
        return token_vectors(model, side, **inputs), mask

    def make_reranker(self) -> LateInteraction:
        """Late interaction as the linker has it."""
        return LateInteraction(EntityEncoder(self._encoder.model, self._encoder.tokenizer))

    def write_folder(self, folder: Path, sections: Mapping[str, Any]) -> None:
        """Write the folder of a dual encoder whose task is ranking."""
        own = {"task": Tasks.text_ranking, "model": {"type": Models.entity_late_interaction}}
        configuration = merge_configurations(merge_configurations(default_configuration(), sections), own)
        write_model_folder(folder, self._encoder.model, self._encoder.tokenizer, configuration)


class CrossEncoderScorer:
    """A cross encoder; see `modelscope_plugin.modeling.cross_encoder`.

    Args:
        folder: Folder of a dual encoder, whose mention tower is taken, of a cross encoder, or of any BERT-family
            checkpoint.
        settings: How to train.
        device: The device of this process.
    """

    def __init__(self, folder: Path, settings: RerankingSettings, device: torch.device) -> None:
        self._model = CrossEncoderModel.from_pretrained(folder, seed=settings.seed)
        raw = load_tokenizer(folder)
        declare_markers(raw)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)  # of the embeddings of new tokens
            self._model.resize_token_embeddings(len(raw))
        tokenizer = entity_tokenizer(raw, folder, settings.max_length)
        kind = find_model_type(read_configuration(folder), folder)
        if settings.max_length is None and kind != Models.entity_cross_encoder:
            tokenizer.max_length = min(2 * tokenizer.max_length, self._model.max_positions)
        self._tokenizer = PairTokenizer(tokenizer)
        if settings.dropout is not None:
            set_dropout(self._model, settings.dropout)
        self._model.to(device)
        check_pairs_with_probe(self._model, self._tokenizer)

    @property
    def model(self) -> torch.nn.Module:
        """The cross encoder."""
        return self._model

    @property
    def fingerprint(self) -> str:
        """That of the cross encoder."""
        return self.make_reranker().fingerprint

    def score(self, mentions: Sequence[Mention], texts: Sequence[str], lists: Sequence[Sequence[int]]) -> torch.Tensor:
        """Score lists of candidates; each pair is read by itself."""
        device = self._model.device
        columns = pad_lists(lists)
        cells = [(row, column) for row, one in enumerate(lists) for column in range(len(one))]
        pairs = self._tokenizer.pair_ids(
            [mentions[row] for row, _ in cells], [texts[lists[row][column]] for row, column in cells]
        )
        parts, order = [], list[int]()
        for batch in make_batches([len(pair.input_ids) for pair in pairs], _BUDGET.get(device.type, _GPU_BUDGET)):
            padded = self._tokenizer.pad([pairs[position] for position in batch])
            inputs = {name: torch.from_numpy(value).to(device) for name, value in padded.items()}
            parts.append(self._model.score(**inputs).float())
            order += batch
        # Batches go by length; back to the order of the cells.
        flat = torch.cat(parts)[torch.tensor(order).argsort().to(device)]
        scores = torch.full(columns.shape, -torch.inf, device=device)
        rows, positions = (torch.tensor(one, device=device) for one in zip(*cells, strict=True))
        return scores.index_put((rows, positions), flat)

    def make_reranker(self) -> CrossEncoderReranker:
        """The cross encoder as the linker has it."""
        return CrossEncoderReranker(CrossEncoder(self._model, self._tokenizer))

    def write_folder(self, folder: Path, sections: Mapping[str, Any]) -> None:
        """Write the folder of a cross encoder."""
        write_cross_encoder_folder(folder, self._model, self._tokenizer, sections)


def load_scorer(folder: Path, settings: RerankingSettings, device: torch.device) -> TrainableScorer:
    """Load the checkpoint that a re-ranker is trained from; new weights come from the seed of the settings."""
    kind = LateInteractionScorer if settings.type == "late-interaction" else CrossEncoderScorer
    return kind(folder, settings, device)
