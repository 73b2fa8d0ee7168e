"""The names of an index: those of its knowledge base, those learnt, and how often names are mentions in texts."""

from __future__ import annotations

import json
import mmap
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import numpy as np

from modelscope_plugin.data.names import normalized_name
from modelscope_plugin.data.records import Mention
from modelscope_plugin.errors import IndexFolderError
from modelscope_plugin.retrieval.knowledge_base import KnowledgeBase
from modelscope_plugin.retrieval.lexical.alias_index import AliasIndex

_NAMES, _LEARNED, _LINKS = "names.safetensors", "learned.safetensors", "link_counts.json"

LEXICON_FILES = (_NAMES, _LEARNED, _LINKS)
"""The files that a lexicon keeps in its folder; the second one only where names were learnt, the third where mentions
were counted."""


class Lexicon:
    """Two alias indices over the rows of one knowledge base, each read or built when it is first asked for.

    Args:
        knowledge_base: The entities. Call `release` before they change.
        files: Files that `save` wrote for these rows. They are mapped, so that their content is there when it is
            first asked for, whatever becomes of the folder until then.

    Raises:
        ValueError: If a file is empty.
    """

    def __init__(self, knowledge_base: KnowledgeBase, files: Iterable[Path] = ()) -> None:
        self.knowledge_base = knowledge_base
        self._files = {path.name: (path, _map_file(path)) for path in files}
        self._names: AliasIndex | None = None
        self._learned: AliasIndex | None = None
        self._pairs: set[tuple[str, str]] | None = None
        self._link_counts: Mapping[str, tuple[int, int]] | None = None

    @property
    def names(self) -> AliasIndex:
        """Names and aliases of the entities."""
        names = self._names
        if names is None:
            if _NAMES in self._files:
                names = self._read(_NAMES)
            else:
                ids = self.knowledge_base.ids
                order = np.array(sorted(range(len(ids)), key=ids.__getitem__), dtype=np.int32)
                names = AliasIndex.build(self.knowledge_base.names(), order)
            self._names = names
        return names

    @property
    def learned(self) -> AliasIndex:
        """Words that stood for an entity in a labelled text; see `learn`."""
        learned = self._learned
        if learned is None:
            if self._pairs is None and _LEARNED in self._files:
                learned = self._read(_LEARNED)
            else:
                pairs = ((name, self.knowledge_base.row_of(one)) for name, one in self._pairs or ())
                learned = AliasIndex.build(pairs, self.names.order)
            self._learned = learned
        return learned

    def learn(self, mentions: Iterable[Mention]) -> int:
        """Take the words of labelled mentions for names of their entities.

        The dictionary from the words of a text to entities is that of Wikipedia anchors in entity linking (Mihalcea and
        Csomai 2007). Such names are kept apart from those of the knowledge base and never count as exact.

        Args:
            mentions: Mentions with gold entities; golds that are not in the index are passed over.

        Returns:
            How many names are known in all.
        """
        return self.learn_pairs(
            (normalized_name(mention.surface), one) for mention in mentions for one in mention.entity_ids
        )

    def learn_pairs(self, pairs: Iterable[tuple[str, str]]) -> int:
        """As `learn`, from normalised names and ids."""
        self._pairs = self.learned_pairs() | {(name, one) for name, one in pairs if one in self.knowledge_base}
        self._learned = None
        return len(self._pairs)

    @property
    def link_counts(self) -> Mapping[str, tuple[int, int]]:
        """For normalised names how often each stands in labelled texts, and how often it is a mention there."""
        if self._link_counts is None:
            self._link_counts = _parse_counts(*self._files[_LINKS]) if _LINKS in self._files else {}
        return self._link_counts

    @link_counts.setter
    def link_counts(self, counts: Mapping[str, tuple[int, int]]) -> None:
        self._link_counts = counts

    def release(self, removed: Collection[str] = ()) -> None:
        """Let go of what is bound to the rows, which are about to change; names learnt are kept by id.

        Args:
            removed: Ids that leave the knowledge base, and with them what was learnt: an entity that is added under
                such an id later is another one. One that is replaced is the same in a new form, and keeps it.
        """
        gone = set(removed)
        self._pairs = {(name, one) for name, one in self.learned_pairs() if one not in gone}
        self._link_counts = self.link_counts
        self._names = self._learned = None
        self._files = {}

    def _read(self, name: str) -> AliasIndex:
        path, content = self._files[name]
        return AliasIndex.parse(content[:], path, len(self.knowledge_base))

    def learned_pairs(self) -> set[tuple[str, str]]:
        """The names learnt, normalised, and the ids that they stand for."""
        if self._pairs is None:
            ids = self.knowledge_base.ids
            learned = self.learned.pairs() if _LEARNED in self._files else ()
            self._pairs = {(name, ids[row]) for name, row in learned}
        return self._pairs

    def save(self, folder: Path) -> tuple[str, ...]:
        """Write both into a folder; the names of the files written."""
        self.names.save(folder / _NAMES)
        written = [_NAMES]
        if len(self.learned):
            self.learned.save(folder / _LEARNED)
            written.append(_LEARNED)
        if self.link_counts:
            (folder / _LINKS).write_text(json.dumps(dict(sorted(self.link_counts.items()))), encoding="utf-8")
            written.append(_LINKS)
        return tuple(written)


def _parse_counts(path: Path, content: mmap.mmap) -> dict[str, tuple[int, int]]:
    try:
        record = json.loads(content[:])
        counts = {name: (stands, mentions) for name, (stands, mentions) in record.items()}
        if not all(type(one) is int for pair in counts.values() for one in pair):
            raise ValueError("a count is no integer")
        if not all(0 <= mentions <= stands for stands, mentions in counts.values()):
            raise ValueError("a count is out of its range")
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise IndexFolderError(f"{path} is damaged ({error}); count the mentions or build the index again") from None
    return counts


def _map_file(path: Path) -> mmap.mmap:
    with open(path, "rb") as stream:
        return mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
