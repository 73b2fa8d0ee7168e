"""Texts to vectors: one encoder behind pipelines, index building, evaluation and training."""

from modelscope_plugin.encoding.encoder import EntityEncoder
from modelscope_plugin.encoding.protocol import Encoder

__all__ = ["Encoder", "EntityEncoder"]
