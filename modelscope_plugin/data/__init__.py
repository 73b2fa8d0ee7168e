"""Entities, mentions, their texts and the files they are read from. No torch, no ModelScope."""

from modelscope_plugin.data.entity_text import entity_text
from modelscope_plugin.data.markers import MENTION_END, MENTION_START, mark_mention, parse_marked_text
from modelscope_plugin.data.readers import read_documents, read_entities, read_mentions
from modelscope_plugin.data.records import Document, Entity, Mention
from modelscope_plugin.data.sample import sample_file

__all__ = [
    "MENTION_END",
    "MENTION_START",
    "Document",
    "Entity",
    "Mention",
    "entity_text",
    "mark_mention",
    "parse_marked_text",
    "read_documents",
    "read_entities",
    "read_mentions",
    "sample_file",
]
