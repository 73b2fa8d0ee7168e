"""Names to the entities that bear them, beside the vectors."""

from modelscope_plugin.index.names.alias_index import AliasIndex
from modelscope_plugin.index.names.lexicon import Lexicon

__all__ = ["AliasIndex", "Lexicon"]
