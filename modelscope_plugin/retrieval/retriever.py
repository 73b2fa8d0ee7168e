"""Candidates by vectors, by names, or by both."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from modelscope_plugin.checks import check_choice, check_integer
from modelscope_plugin.data.markers import parse_marked_text
from modelscope_plugin.data.records import Mention
from modelscope_plugin.encoding.protocol import Encoder
from modelscope_plugin.errors import InputError
from modelscope_plugin.retrieval.candidate import Candidate
from modelscope_plugin.retrieval.entity_index import EntityIndex
from modelscope_plugin.retrieval.fitted import RETRIEVALS
from modelscope_plugin.retrieval.fusion import Fusion
from modelscope_plugin.retrieval.knowledge_base import KnowledgeBase
from modelscope_plugin.retrieval.lexical.lexicon import Lexicon
from modelscope_plugin.types import RowIds, Vectors

# Each list is looked at to this rank at least: fusing needs more than the candidates asked for.
_DEPTH = 128
# Entities of exactly the mention's name that are brought in beside the lists; a name that more bear says little, and
# the first of them by id have to do.
_MAX_NAMESAKES = 1024
# Mentions whose names were looked up last: the same ones come again and again.
_REMEMBERED = 4096
# Queries searched at once: their scores against the whole knowledge base have to fit in memory.
_CHUNK = 1024

Floats: TypeAlias = npt.NDArray[np.floating]
Bools: TypeAlias = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Ranking:
    """The candidates of one mention as arrays, best first, each (n,).

    Attributes:
        rows: Rows of the knowledge base.
        scores: What they are ranked by.
        dense: Dot products; 0 in ``lexical`` retrieval.
        dense_ranks: Ranks in the dense list; 0 behind its end, and in ``lexical`` retrieval.
        names: Likeness of the best name, 0 to 1; 0 in ``dense`` retrieval, as are the others of names.
        learned: Likeness of the best name learnt from labelled mentions.
        is_exact: Whether an entity bears the mention as a name.
        is_verbatim: Whether it does so as the mention is written, without any normalisation.
        is_learned: Whether the mention stood for it in a labelled text.
    """

    rows: RowIds
    scores: Floats
    dense: Floats
    dense_ranks: RowIds
    names: Floats
    learned: Floats
    is_exact: Bools
    is_verbatim: Bools
    is_learned: Bools

    @classmethod
    def by_vectors(cls, rows: RowIds, scores: Vectors) -> Ranking:
        """The ranking of a dense list."""
        none, no = np.zeros(len(rows), dtype=np.float32), np.zeros(len(rows), dtype=np.bool_)
        return cls(rows, scores, scores, np.arange(1, len(rows) + 1), none, none, no, no, no)

    @property
    def likeness(self) -> Floats:
        """The larger of the two likenesses."""
        best: Floats = np.maximum(self.names, self.learned)
        return best

    def take(self, positions: RowIds) -> Ranking:
        """The candidates at some positions, in that order."""
        return Ranking(**{field.name: getattr(self, field.name)[positions] for field in fields(self)})

    def match(self, position: int) -> str | None:
        """How the name of a candidate is met; see `Candidate`."""
        ways = (("exact", self.is_verbatim), ("normalized", self.is_exact), ("learned", self.is_learned))
        for name, is_met in (*ways, ("partial", self.likeness > 0)):
            if is_met[position]:
                return name
        return None


class Retriever:
    """Finds the candidates of mentions.

    ``lexical`` and ``hybrid`` put the entities that bear the mention as a name before all others: names first, and of
    these first the names that are written as the mention is. Within each group ``lexical`` goes by the likeness of
    names and ``hybrid`` by fused lists; what is equal is ordered by id.

    Args:
        source: The index of the knowledge base; for ``lexical`` a knowledge base alone will do.
        retrieval: ``dense``, ``lexical`` or ``hybrid``.
        fusion: For ``hybrid``; by default what was fitted for the index, else what its quality measured there
            (`EntityIndex.quality`) gives, else ``Fusion()``.
        exact: Whether to search the vectors exactly also where the index was tuned otherwise.

    Raises:
        InputError: If the retrieval is unknown, or there are no vectors for it.
        IndexFolderError: If what was fitted for the index is damaged.
    """

    def __init__(
        self,
        source: EntityIndex | KnowledgeBase,
        retrieval: str = "dense",
        fusion: Fusion | None = None,
        *,
        exact: bool = False,
    ) -> None:
        self.retrieval = check_choice("retrieval", retrieval, RETRIEVALS)
        self.fusion = fusion or Fusion()
        self._exact = exact
        if isinstance(source, KnowledgeBase):
            self._index, self._knowledge_base, self._lexicon = None, source, Lexicon(source)
            if self.needs_vectors:
                raise InputError(f"{retrieval} retrieval needs an index with vectors; a knowledge base has names alone")
        else:
            self._index, self._knowledge_base, self._lexicon = source, source.knowledge_base, source.lexicon
            if retrieval == "hybrid" and fusion is None:
                measured = None if source.quality is None else source.quality.fusion
                self.fusion = source.fitted.get_fusion() or measured or self.fusion

    @property
    def needs_vectors(self) -> bool:
        """Whether mentions have to be encoded."""
        return self.retrieval != "lexical"

    def encode_mentions(
        self,
        encoder: Encoder,
        mentions: Sequence[str | Mention],
        *,
        batch_size: int | None = None,
        show_progress_bar: bool | None = False,
    ) -> tuple[Vectors | None, list[str]]:
        """Turn mentions into what `rank` and `search` take; nothing is encoded for ``lexical``.

        Args:
            encoder: The dual encoder.
            mentions: `Mention` objects or texts with a marked mention, n.
            batch_size: Mentions in one forward pass; by default as many as suit the device.
            show_progress_bar: True, False, or None for a bar on a terminal only.

        Returns:
            Mention vectors, float32 (n, dim), None for ``lexical``; and the words of the mentions, n.
        """
        vectors = None
        if self.needs_vectors:
            vectors = encoder.encode_query(mentions, batch_size=batch_size, show_progress_bar=show_progress_bar)
        return vectors, [_surface(mention) for mention in mentions]

    def rank(self, vectors: Vectors | None, surfaces: Sequence[str], top_k: int) -> Iterator[Ranking]:
        """Rank entities for mentions.

        Args:
            vectors: Mention vectors, float32 (n, dim); None for ``lexical``.
            surfaces: The words of the mentions, n.
            top_k: Candidates per mention; ``lexical`` has fewer where fewer names share a character with the mention.

        Yields:
            For each mention its ranking.

        Raises:
            InputError: If ``top_k`` is not positive, or vectors are missing.
        """
        top_k = check_integer("top_k", top_k, least=1)
        if not self.needs_vectors:
            yield from map(lru_cache(_REMEMBERED)(lambda surface: self._rank_by_names(surface, top_k)), surfaces)
            return
        if self.retrieval == "hybrid":
            for found in self.gather(vectors, surfaces, top_k):
                yield self.order(found, self.fusion, top_k)
            return
        index, vectors = self._check_vectors(vectors)
        for chunk in _chunks(len(vectors)):
            for scores, rows in zip(*index.search_rows(vectors[chunk], top_k, exact=self._exact), strict=True):
                yield Ranking.by_vectors(rows, scores)

    def gather(self, vectors: Vectors | None, surfaces: Sequence[str], top_k: int) -> Iterator[Ranking]:
        """Gather for mentions what both halves of ``hybrid`` find, for `order` to rank.

        Args:
            vectors: Mention vectors, float32 (n, dim).
            surfaces: The words of the mentions, n.
            top_k: Candidates that are to be ranked; each half is looked at to rank 128 at least.

        Yields:
            For each mention its candidates, in rising order of rows; their scores are those of the names.

        Raises:
            InputError: If vectors are missing.
        """
        index, vectors = self._check_vectors(vectors)
        depth = max(top_k, _DEPTH)
        for chunk in _chunks(len(vectors)):
            queries = vectors[chunk]
            _, lists = index.search_rows(queries, depth, exact=self._exact)
            for query, surface, rows in zip(queries, surfaces[chunk], lists, strict=True):
                found = self._find_names(surface, rows, depth)
                dense_ranks = np.zeros(len(found.rows), dtype=np.int64)
                dense_ranks[np.searchsorted(found.rows, rows)] = np.arange(1, len(rows) + 1)
                yield replace(found, dense=index.scores(query, found.rows), dense_ranks=dense_ranks)

    def _check_vectors(self, vectors: Vectors | None) -> tuple[EntityIndex, Vectors]:
        if vectors is None or self._index is None:
            raise InputError(f"{self.retrieval} retrieval needs the vectors of the mentions")
        return self._index, vectors

    def order(self, found: Ranking, fusion: Fusion, top_k: int) -> Ranking:
        """Rank gathered candidates by a fusion.

        Args:
            found: The candidates, as `gather` gives them.
            fusion: The fusion.
            top_k: How many to keep.

        Returns:
            The first of them, best first.
        """
        depth = max(top_k, _DEPTH)
        name_ranks, learned_ranks = _ranks(found.names, depth), _ranks(found.learned, depth)
        scores = fusion.fuse((found.dense, found.names, found.learned), (found.dense_ranks, name_ranks, learned_ranks))
        # What the mention stood for in a labelled text is not behind what shares nothing but vectors, whatever the fit.
        bare = found.likeness == 0
        if bare.any():
            scores = np.where(found.is_learned, np.maximum(scores, scores[bare].max()), scores)
        ties = found.dense
        if not fusion.orders_namesakes:
            scores, ties = (np.where(found.is_exact, 0.0, values) for values in (scores, ties))
        lifted = _lift(_lift(scores, found.is_exact), found.is_verbatim)
        return self._order(replace(found, scores=lifted), (~found.is_learned, -ties), top_k)

    def search(self, vectors: Vectors | None, surfaces: Sequence[str], top_k: int) -> list[list[Candidate]]:
        """As `rank`, but as candidates that say where they came from."""
        queries = [None] * len(surfaces) if vectors is None else vectors
        with nullcontext() if self._index is None else self._index.guard.read():
            return [
                self.make_candidates(ranking, query)
                for ranking, query in zip(self.rank(vectors, surfaces, top_k), queries, strict=True)
            ]

    def _rank_by_names(self, surface: str, top_k: int) -> Ranking:
        found = self._find_names(surface, np.empty(0, np.int64), max(top_k, _DEPTH))
        return self._order(found, (), top_k)

    def _find_names(self, surface: str, others: RowIds, depth: int) -> Ranking:
        """The rows that names bring in, and others, in rising order, scored by the likeness of their names."""
        known, learned = self._lexicon.names.search(surface, depth), self._lexicon.learned.search(surface, depth)
        namesakes = self._lexicon.names.exact(surface, max(depth, _MAX_NAMESAKES))
        rows = np.unique(np.concatenate([others, known.rows, learned.rows, namesakes]))
        is_exact = known.exact(rows)
        is_verbatim = is_exact.copy()
        is_verbatim[is_exact] = [surface in self._knowledge_base[row].names for row in rows[is_exact].tolist()]
        names, learned_names = known.of(rows), learned.of(rows)
        return Ranking(
            rows=rows,
            scores=np.maximum(names, learned_names),
            dense=np.zeros(len(rows), dtype=np.float32),
            dense_ranks=np.zeros(len(rows), dtype=np.int64),
            names=names,
            learned=learned_names,
            is_exact=is_exact,
            is_verbatim=is_verbatim,
            is_learned=learned.exact(rows),
        )

    def _order(self, found: Ranking, ties: Iterable[Floats | Bools], top_k: int) -> Ranking:
        """The first: names as the mention is written, other exact names, the rest.

        Within each by falling scores, then by rising columns that break ties, then by id.
        """
        ids = self._knowledge_base.ids
        columns = (~found.is_verbatim, ~found.is_exact, -found.scores, *ties)
        keys = list(
            zip(*(column.tolist() for column in columns), (ids[row] for row in found.rows.tolist()), strict=True)
        )
        order = np.array(sorted(range(len(keys)), key=keys.__getitem__)[:top_k], dtype=np.int64)
        return found.take(order)

    def make_candidates(self, ranking: Ranking, query: Vectors | None) -> list[Candidate]:
        """Turn the ranking of a mention into candidates.

        Args:
            ranking: The ranking.
            query: The mention vector, float32 (dim,); None for ``lexical``.

        Returns:
            The candidates, best first.
        """
        found = []
        likeness = ranking.likeness
        for position, row in enumerate(ranking.rows.tolist()):
            entity = self._knowledge_base[row]
            candidate = Candidate(
                self._knowledge_base.ids[row], entity.name, float(ranking.scores[position]), position + 1
            )
            if query is not None and self._index is not None:
                candidate = candidate._replace(view=self._index.best_view(query, row))
            if self.retrieval == "hybrid":
                candidate = candidate._replace(
                    dense_score=float(ranking.dense[position]), dense_rank=int(ranking.dense_ranks[position]) or None
                )
            if self.retrieval != "dense":
                candidate = candidate._replace(name_score=float(likeness[position]), match=ranking.match(position))
            found.append(candidate)
        return found


def _surface(mention: str | Mention) -> str:
    """The words of a mention; of a text without markers, the whole text."""
    if isinstance(mention, Mention):
        return mention.surface
    marked = parse_marked_text(mention)
    return mention if marked is None else marked.surface


def _chunks(count: int) -> Iterator[slice]:
    return (slice(start, start + _CHUNK) for start in range(0, count, _CHUNK))


def _lift(scores: Floats, first: Bools) -> Floats:
    """Raise the scores of those that come first, so that the worst of them is not below the best of the others."""
    if first.all() or not first.any():
        return scores
    best: float = scores[~first].max()
    gap = best - scores[first].min()
    return np.where(first, np.maximum(scores + gap, best), scores) if gap > 0 else scores


def _ranks(likeness: Floats, depth: int) -> RowIds:
    """Ranks by likeness from 1, equal for equal names; 0 for what shares nothing or is ranked behind the depth."""
    ranks = 1 + np.searchsorted(-np.sort(likeness)[::-1], -likeness, "left")
    return np.where((likeness > 0) & (ranks <= depth), ranks, 0)
