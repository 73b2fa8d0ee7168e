"""The tokenizer with its mention-centred window as a ModelScope preprocessor."""

from __future__ import annotations

from typing import Any

import torch
from modelscope.preprocessors.base import Preprocessor
from modelscope.preprocessors.builder import PREPROCESSORS
from modelscope.utils.constant import Fields, ModeKeys

from modelscope_plugin.checks import check_integer
from modelscope_plugin.config.metainfo import Preprocessors
from modelscope_plugin.data.requests import CANDIDATES_KEY, SOURCE_KEY, EmbeddingRequest, parse_embedding_request
from modelscope_plugin.errors import InputError
from modelscope_plugin.modeling.checkpoint_files import load_entity_tokenizer
from modelscope_plugin.modeling.tokenization import EntityTokenizer
from modelscope_plugin.modelscope_adapter.registration import register_class
from modelscope_plugin.types import TokenIds


class RequestPreprocessor(Preprocessor):
    """The base of the preprocessors that read source sentences and the sentences to compare them with.

    Args:
        model_dir: The model folder; its tokenizer files and configuration.json are read.
        first_sequence: Key of the source sentences.
        second_sequence: Key of the sentences to compare.
        mode: ModelScope's mode; the window is the same in all of them.
        max_length: Tokens of a window; by default what configuration.json says, else 128.
        sequence_length: The name that the built-in pipeline gives to ``max_length``.
        boq: Text in front of every source sentence.
        bod: Text in front of every sentence to compare.
        **kwargs: What ModelScope passes to every preprocessor.

    Raises:
        ModelFolderError: If the folder has no tokenizer.
        InputError: If end tokens (``eoq``, ``eod``) are configured: they belong to decoder-only models.
    """

    def __init__(
        self,
        model_dir: str,
        first_sequence: str = SOURCE_KEY,
        second_sequence: str = CANDIDATES_KEY,
        mode: str = ModeKeys.INFERENCE,
        max_length: int | None = None,
        sequence_length: int | None = None,
        boq: str | None = None,
        bod: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(mode=mode)
        if kwargs.get("eoq") or kwargs.get("eod"):
            raise InputError(f"eoq and eod in the preprocessor section of {model_dir} are for decoder-only models")
        self.first_sequence = first_sequence
        self.second_sequence = second_sequence
        length = sequence_length if max_length is None else max_length
        if length is not None:
            length = check_integer("max_length", length, least=1)
        tokenizer = self._load_tokenizer(model_dir, length)
        if boq is not None:
            tokenizer.mention_prefix = boq
        if bod is not None:
            tokenizer.entity_prefix = bod

    def _load_tokenizer(self, model_dir: str, max_length: int | None) -> EntityTokenizer:
        """Load ``self.tokenizer``, and return what holds the prefixes."""
        raise NotImplementedError

    def read_request(self, data: Any) -> EmbeddingRequest:
        """Read the input of the pipeline; see `parse_embedding_request`."""
        return parse_embedding_request(data, self.first_sequence, self.second_sequence)


@register_class(PREPROCESSORS, Fields.nlp, Preprocessors.entity_embedding)
class EntityEmbeddingPreprocessor(RequestPreprocessor):
    """`EntityTokenizer` as a ModelScope preprocessor, called like the built-in sentence-embedding preprocessor."""

    tokenizer: EntityTokenizer

    def _load_tokenizer(self, model_dir: str, max_length: int | None) -> EntityTokenizer:
        self.tokenizer = load_entity_tokenizer(model_dir, max_length)
        return self.tokenizer

    def __call__(self, data: Any, **kwargs: Any) -> dict[str, dict[str, torch.Tensor] | None]:
        """Tokenise source sentences and the sentences to compare.

        Args:
            data: As for `parse_embedding_request`.
            **kwargs: Accepted because the built-in preprocessor takes more; not used: texts are padded to the longest
                and truncated to the window.

        Returns:
            ``query`` and ``docs``, each with ``input_ids`` and ``attention_mask``, int64 (n, length); None if there
            is no text.
        """
        request = self.read_request(data)
        return {
            "query": self._tensors(self.tokenizer.mention_ids(request.sources)),
            "docs": self._tensors(self.tokenizer.entity_ids(request.candidates)),
        }

    def _tensors(self, sequences: list[TokenIds]) -> dict[str, torch.Tensor] | None:
        if not sequences:
            return None
        return {name: torch.from_numpy(values) for name, values in self.tokenizer.pad(sequences).items()}
