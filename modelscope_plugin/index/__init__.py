"""Vectors to nearest entities."""

from modelscope_plugin.index.entity_index import Candidate, EntityIndex
from modelscope_plugin.index.vector_index import FlatIndex, VectorIndex

__all__ = ["Candidate", "EntityIndex", "FlatIndex", "VectorIndex"]
