"""Texts to vectors: one encoder behind pipelines, index building, evaluation and training."""

from modelscope_plugin.encoding.bulk.local import EncodingJob
from modelscope_plugin.encoding.encoder import EntityEncoder

__all__ = ["EncodingJob", "EntityEncoder"]
