"""Entities by row and by id; usable without any vector."""

from modelscope_plugin.retrieval.knowledge_base.id_table import IdTable
from modelscope_plugin.retrieval.knowledge_base.knowledge_base import KnowledgeBase

__all__ = ["IdTable", "KnowledgeBase"]
