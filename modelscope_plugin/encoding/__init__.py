"""Texts to vectors: one encoder behind pipelines, index building, evaluation and training."""

from modelscope_plugin.encoding.encoder import EntityEncoder
from modelscope_plugin.encoding.jobs import EncodingJob

__all__ = ["EncodingJob", "EntityEncoder"]
