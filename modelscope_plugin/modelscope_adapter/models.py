"""The dual encoder as a ModelScope model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from modelscope.models.base import TorchModel
from modelscope.models.builder import MODELS
from modelscope.outputs import SentencEmbeddingModelOutput
from torch.nn import functional

from modelscope_plugin.config.configuration import read_configuration
from modelscope_plugin.config.metainfo import Models, Tasks
from modelscope_plugin.config.model_settings import find_model_type
from modelscope_plugin.modeling.checkpoint_files import load_entity_tokenizer
from modelscope_plugin.modeling.dual_encoder import DualEncoder
from modelscope_plugin.modeling.model_folder import write_model_folder
from modelscope_plugin.modelscope_adapter.registration import register_class


@register_class(MODELS, Tasks.sentence_embedding, Models.entity_embedding)
class EntityEmbeddingModel(TorchModel):
    """`DualEncoder` as a ModelScope model, called like the built-in sentence-embedding model.

    Args:
        model_dir: The model folder.
        emb_pooler_type: ``cls``, ``avg``, ``avg_top2`` or ``avg_first_last``; by default what configuration.json
            says, else ``cls``.
        normalize: Whether vectors are scaled to length 1; by default what configuration.json says.
        **kwargs: What ModelScope passes to every model, such as ``device``.

    Raises:
        ModelFolderError: If a file of the folder is missing or damaged.
    """

    def __init__(
        self, model_dir: str, emb_pooler_type: str | None = None, normalize: bool | None = None, **kwargs: Any
    ) -> None:
        super().__init__(model_dir, **kwargs)
        # ModelScope overwrites model_dir with what the caller gave, which may be relative.
        self._folder = Path(model_dir).resolve()
        self.dual_encoder = DualEncoder.from_pretrained(model_dir, emb_pooler_type=emb_pooler_type, normalize=normalize)

    def forward(
        self,
        query: dict[str, torch.Tensor] | None = None,
        docs: dict[str, torch.Tensor] | None = None,
        labels: torch.Tensor | None = None,
    ) -> SentencEmbeddingModelOutput:
        """Embed the output of the preprocessor.

        Args:
            query: ``input_ids`` and ``attention_mask`` of the mentions, both (n, length).
            docs: The same of the entities.
            labels: In training, the row in ``docs`` of each mention's entity, (n,); by default the first of m / n
                consecutive rows per mention, as in the built-in model.

        Returns:
            ``query_embeddings`` (n, dim) and ``doc_embeddings`` (m, dim), None for an input that was not given; in
            training mode also ``loss``, the cross-entropy of the dot products.
        """
        mentions = None if query is None else self.dual_encoder.embed("mention", **query)
        entities = None if docs is None else self.dual_encoder.embed("entity", **docs)
        output = SentencEmbeddingModelOutput(query_embeddings=mentions, doc_embeddings=entities)
        if self.training and mentions is not None and entities is not None:
            scores = mentions @ entities.T
            if labels is None:
                labels = torch.arange(len(mentions), device=scores.device) * (len(entities) // len(mentions))
            output.loss = functional.cross_entropy(scores, labels)
        return output

    def save_pretrained(self, target_folder: str, *args: Any, **kwargs: Any) -> None:
        """Write weights, tokenizer and configuration.json, so that the folder can be loaded again.

        Args:
            target_folder: Folder to write to; created if it does not exist.
            *args: Accepted because ModelScope's own models take more; not used.
            **kwargs: Accepted for the same reason; not used.
        """
        configuration = read_configuration(self._folder)
        # The code that a standalone folder carries is not copied.
        configuration.pop("allow_remote", None)
        is_ours = find_model_type(configuration, self._folder) == Models.entity_embedding
        tokenizer = load_entity_tokenizer(self._folder)
        write_model_folder(Path(target_folder), self.dual_encoder, tokenizer, configuration if is_ours else None)
