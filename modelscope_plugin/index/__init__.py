"""Vectors and names to nearest entities."""

from modelscope_plugin.index.candidate import Candidate
from modelscope_plugin.index.entity_index import EntityIndex
from modelscope_plugin.index.fusion import Fusion
from modelscope_plugin.index.nil import NilRule
from modelscope_plugin.index.retrieval import Retriever
from modelscope_plugin.index.vector_index import FlatIndex, VectorIndex

__all__ = ["Candidate", "EntityIndex", "FlatIndex", "Fusion", "NilRule", "Retriever", "VectorIndex"]
