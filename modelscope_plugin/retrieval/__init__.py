"""Mentions to candidates: by vectors, by names, or by both."""

from modelscope_plugin.retrieval.candidate import Candidate
from modelscope_plugin.retrieval.entity_index import EntityIndex
from modelscope_plugin.retrieval.fusion import Fusion
from modelscope_plugin.retrieval.retriever import Retriever

__all__ = ["Candidate", "EntityIndex", "Fusion", "Retriever"]
