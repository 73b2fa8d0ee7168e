"""The cross encoder and its tokenizer as a ModelScope model and preprocessor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from modelscope.models.base import TorchModel
from modelscope.models.builder import MODELS
from modelscope.outputs.nlp_outputs import AttentionTextClassificationModelOutput
from modelscope.preprocessors.builder import PREPROCESSORS
from modelscope.utils.constant import Fields
from torch.nn import functional

from modelscope_plugin.config.metainfo import Models, Preprocessors, Tasks
from modelscope_plugin.data.requests import EmbeddingRequest
from modelscope_plugin.modeling.checkpoint_files import load_pair_tokenizer
from modelscope_plugin.modeling.cross_encoder import CrossEncoderModel
from modelscope_plugin.modeling.model_folder import write_cross_encoder_folder
from modelscope_plugin.modeling.pair_tokenization import PairTokenizer
from modelscope_plugin.modeling.tokenization import EntityTokenizer
from modelscope_plugin.modelscope_adapter.preprocessors import RequestPreprocessor
from modelscope_plugin.modelscope_adapter.registration import register_class


@register_class(MODELS, Tasks.text_ranking, Models.entity_cross_encoder)
class EntityCrossEncoderModel(TorchModel):
    """`CrossEncoderModel` as a ModelScope model, called like the built-in text-ranking model.

    Args:
        model_dir: The model folder.
        neg_sample: Negatives behind each positive in a batch of training.
        **kwargs: What ModelScope passes to every model, such as ``device``.

    Raises:
        ModelFolderError: If a file of the folder is missing or damaged, or it has no head that scores pairs.
    """

    def __init__(self, model_dir: str, neg_sample: int = 4, **kwargs: Any) -> None:
        super().__init__(model_dir, **kwargs)
        # ModelScope overwrites model_dir with what the caller gave, which may be relative.
        self._folder = Path(model_dir).resolve()
        self.neg_sample = neg_sample
        self.cross_encoder = CrossEncoderModel.from_pretrained(model_dir)

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        token_type_ids: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> AttentionTextClassificationModelOutput:
        """Score the output of the preprocessor.

        Args:
            input_ids: Token ids (n, length).
            attention_mask: 1 for tokens and 0 for padding (n, length).
            token_type_ids: Segments (n, length).
            **kwargs: Accepted because the built-in model takes more; not used.

        Returns:
            ``logits`` (n, 1); in training mode also ``loss``, the cross-entropy over groups of ``neg_sample`` + 1
            consecutive pairs, of which the first is the positive, as in the built-in model.
        """
        logits = self.cross_encoder.score(input_ids, attention_mask, token_type_ids)
        output = AttentionTextClassificationModelOutput(logits=logits[:, None])
        if self.training:
            groups = logits.view(-1, self.neg_sample + 1)
            output.loss = functional.cross_entropy(groups, torch.zeros(len(groups), dtype=torch.long).to(groups.device))
        return output

    def save_pretrained(self, target_folder: str, *args: Any, **kwargs: Any) -> None:
        """Write weights, tokenizer and configuration.json, so that the folder can be loaded again.

        Args:
            target_folder: Folder to write to; created if it does not exist.
            *args: Accepted because ModelScope's own models take more; not used.
            **kwargs: Accepted for the same reason; not used.
        """
        write_cross_encoder_folder(Path(target_folder), self.cross_encoder, load_pair_tokenizer(self._folder))


@register_class(PREPROCESSORS, Fields.nlp, Preprocessors.entity_cross_encoder)
class EntityCrossEncoderPreprocessor(RequestPreprocessor):
    """`PairTokenizer` as a ModelScope preprocessor, called like the built-in text-ranking preprocessor."""

    tokenizer: PairTokenizer

    def _load_tokenizer(self, model_dir: str, max_length: int | None) -> EntityTokenizer:
        self.tokenizer = load_pair_tokenizer(model_dir, max_length)
        return self.tokenizer.tokenizer

    def read_request(self, data: Any) -> EmbeddingRequest:
        """Read the input of the pipeline: a dict as for `parse_embedding_request`, or a tuple of two texts."""
        if isinstance(data, tuple) and len(data) == 2:
            data = dict(zip((self.first_sequence, self.second_sequence), data, strict=True))
        return super().read_request(data)

    def __call__(self, data: Any, **kwargs: Any) -> dict[str, torch.Tensor]:
        """Tokenise each source sentence with each of the sentences to compare.

        Args:
            data: As for `read_request`.
            **kwargs: Accepted because the built-in preprocessor takes more; not used: pairs are padded to the longest
                and truncated to the window.

        Returns:
            ``input_ids``, ``attention_mask`` and, where the tokenizer has them, ``token_type_ids``, int64
            (sources * sentences, length), those of the first source first; empty if there is no pair.
        """
        request = self.read_request(data)
        pairs = [(source, text) for source in request.sources for text in request.candidates]
        if not pairs:
            return {}
        sources, texts = map(list, zip(*pairs, strict=True))
        padded = self.tokenizer.pad(self.tokenizer.pair_ids(sources, texts))
        return {name: torch.from_numpy(values) for name, values in padded.items()}
