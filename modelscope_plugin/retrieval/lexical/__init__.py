"""Names to the entities that bear them, beside the vectors."""

from modelscope_plugin.retrieval.lexical.alias_index import AliasIndex
from modelscope_plugin.retrieval.lexical.lexicon import Lexicon

__all__ = ["AliasIndex", "Lexicon"]
