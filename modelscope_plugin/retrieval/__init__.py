"""Mentions to candidates: by vectors, by names, or by both."""

from modelscope_plugin.retrieval.candidate import Candidate
from modelscope_plugin.retrieval.entity_index import EntityIndex
from modelscope_plugin.retrieval.fitted import Fitted
from modelscope_plugin.retrieval.fusion import Fusion
from modelscope_plugin.retrieval.knowledge_base import KnowledgeBase
from modelscope_plugin.retrieval.retriever import Retriever

__all__ = ["Candidate", "EntityIndex", "Fitted", "Fusion", "KnowledgeBase", "Retriever"]
