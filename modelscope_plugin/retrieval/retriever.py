"""Candidates by vectors, by names, or by both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from modelscope_plugin.checks import check_integer
from modelscope_plugin.errors import InputError
from modelscope_plugin.retrieval.candidate import Candidate
from modelscope_plugin.retrieval.entity_index import EntityIndex
from modelscope_plugin.retrieval.fusion import Fusion
from modelscope_plugin.types import RowIds, Vectors

RETRIEVALS = ("dense", "lexical", "hybrid")

# Each list is looked at to this rank at least: fusing needs more than the candidates asked for.
_DEPTH = 128
# Entities of exactly the mention's name that are brought in beside the lists; a name that more bear says little, and
# the first of them by id have to do.
_MAX_NAMESAKES = 1024
# Mentions whose names were looked up last: the same ones come again and again.
_REMEMBERED = 4096
# Queries searched at once: their scores against the whole knowledge base have to fit in memory.
_CHUNK = 1024


@dataclass(frozen=True)
class Ranking:
    """The candidates of one mention as arrays, best first, each (n,).

    Attributes:
        rows: RowIds of the index.
        scores: What they are ranked by.
        dense: Dot products; None where no vector was looked at.
        dense_ranks: Ranks in the dense list, 0 behind its end; None where there is none.
        names: Likeness of the best name, 0 to 1; None where no name was looked at.
        learned: Likeness of the best name learnt; None where no name was looked at.
        exact: Whether an entity bears the mention as a name.
        verbatim: Whether it does so as the mention is written, without any normalisation.
        labelled: Whether the mention stood for it in a labelled text.
    """

    rows: RowIds
    scores: npt.NDArray[np.floating]
    dense: npt.NDArray[np.floating] | None = None
    dense_ranks: RowIds | None = None
    names: npt.NDArray[np.floating] | None = None
    learned: npt.NDArray[np.floating] | None = None
    exact: npt.NDArray[np.bool_] | None = None
    verbatim: npt.NDArray[np.bool_] | None = None
    labelled: npt.NDArray[np.bool_] | None = None

    def likeness(self) -> npt.NDArray[np.floating]:
        """The better of the two likenesses, 0 where no name was looked at."""
        if self.names is None or self.learned is None:
            return np.zeros(len(self.rows))
        best: npt.NDArray[np.floating] = np.maximum(self.names, self.learned)
        return best

    def match(self, place: int) -> str | None:
        """How the name of a candidate is met; see `Candidate`."""
        for name, met in (("exact", self.verbatim), ("normalized", self.exact), ("learned", self.labelled)):
            if met is not None and met[place]:
                return name
        return "partial" if self.likeness()[place] > 0 else None

    def features(self) -> tuple[npt.NDArray[np.floating], ...]:
        """Dot products and the two likenesses of a ``hybrid`` ranking."""
        assert self.dense is not None and self.names is not None and self.learned is not None  # noqa: PT018
        return self.dense, self.names, self.learned


class Retriever:
    """Finds the candidates of mentions.

    ``lexical`` and ``hybrid`` put the entities that bear the mention as a name before all others: names first, and of
    these first the names that are written as the mention is. Within each group ``lexical`` goes by the likeness of
    names and ``hybrid`` by fused lists; what is equal is ordered by id.

    Args:
        index: The index of the knowledge base.
        retrieval: ``dense``, ``lexical`` or ``hybrid``.
        fusion: For ``hybrid``; by default what was fitted for the index, else reciprocal ranks.
        exact: Whether to search the vectors exactly also where the index was tuned otherwise.

    Raises:
        InputError: If the retrieval is unknown.
    """

    def __init__(
        self, index: EntityIndex, retrieval: str = "dense", fusion: Fusion | None = None, *, exact: bool = False
    ) -> None:
        if retrieval not in RETRIEVALS:
            raise InputError(f"retrieval={retrieval!r} is not known; there are {', '.join(RETRIEVALS)}")
        self.index = index
        self.retrieval = retrieval
        self.exact = exact
        fitted = index.fitted.get("fusion")
        self.fusion = fusion or (Fusion.from_record(fitted) if fitted else Fusion())

    @property
    def needs_vectors(self) -> bool:
        """Whether mentions have to be encoded."""
        return self.retrieval != "lexical"

    def rank(self, vectors: Vectors | None, surfaces: Sequence[str], top_k: int) -> Iterator[Ranking]:
        """Rank entities for mentions.

        Args:
            vectors: Mention vectors, float32 (n, dim); None for ``lexical``.
            surfaces: The words of the mentions, n.
            top_k: Candidates per mention; ``lexical`` has fewer where fewer names share a character with the mention.

        Yields:
            For each mention its ranking.
        """
        top_k = check_integer("top_k", top_k, least=1)
        if not self.needs_vectors:
            ranked = lru_cache(_REMEMBERED)(lambda surface: self._lexical(surface, top_k))
            yield from map(ranked, surfaces)
            return
        assert vectors is not None
        depth = top_k if self.retrieval == "dense" else max(top_k, _DEPTH)
        for start in range(0, len(vectors), _CHUNK):
            chunk = vectors[start : start + _CHUNK]
            scores, rows = self.index.search_rows(chunk, depth, exact=self.exact)
            for place, (found, found_rows) in enumerate(zip(scores, rows, strict=True)):
                if self.retrieval == "dense":
                    yield Ranking(found_rows, found)
                else:
                    yield self._hybrid(chunk[place], surfaces[start + place], found_rows, depth, top_k)

    def search(self, vectors: Vectors | None, surfaces: Sequence[str], top_k: int) -> list[list[Candidate]]:
        """As `rank`, but as candidates that say where they came from."""
        queries = [None] * len(surfaces) if vectors is None else vectors
        return [
            self._candidates(ranking, query)
            for ranking, query in zip(self.rank(vectors, surfaces, top_k), queries, strict=True)
        ]

    def _lexical(self, surface: str, top_k: int) -> Ranking:
        return self._first(self._named(surface, np.empty(0, np.int64), max(top_k, _DEPTH)), top_k)

    def _hybrid(self, vector: Vectors, surface: str, nearest: RowIds, depth: int, top_k: int) -> Ranking:
        named = self._named(surface, nearest, depth)
        dense = self.index.scores(vector, named.rows)
        dense_ranks = np.zeros(len(named.rows), dtype=np.int64)
        dense_ranks[np.searchsorted(named.rows, nearest)] = np.arange(1, len(nearest) + 1)
        assert named.names is not None and named.learned is not None  # noqa: PT018
        name_ranks, learned_ranks = _ranks(named.names, depth), _ranks(named.learned, depth)
        fused = self.fusion.fuse((dense, named.names, named.learned), (dense_ranks, name_ranks, learned_ranks))
        return self._first(replace(named, scores=fused, dense=dense, dense_ranks=dense_ranks), top_k)

    def _named(self, surface: str, others: RowIds, depth: int) -> Ranking:
        """The rows that names bring in, beside others, rising, scored by the likeness of their names."""
        lexicon = self.index.lexicon
        known, learned = lexicon.names.search(surface, depth), lexicon.learned.search(surface, depth)
        namesakes = lexicon.names.exact(surface, max(depth, _MAX_NAMESAKES))
        rows = np.unique(np.concatenate([others, known.rows, learned.rows, namesakes]))
        exact = known.exact(rows)
        verbatim = exact.copy()
        verbatim[exact] = [surface in self.index[row].names for row in rows[exact].tolist()]
        names, learned_names = known.of(rows), learned.of(rows)
        return Ranking(
            rows,
            np.maximum(names, learned_names),
            names=names,
            learned=learned_names,
            exact=exact,
            verbatim=verbatim,
            labelled=learned.exact(rows),
        )

    def _first(self, found: Ranking, top_k: int) -> Ranking:
        """Ranked: names as the mention is written, other exact names, the rest; by falling scores, then by id."""
        assert found.exact is not None and found.verbatim is not None  # noqa: PT018
        ids = self.index.ids
        scores = [-found.scores] if found.dense is None else [-found.scores, -found.dense]
        columns = [column.tolist() for column in (~found.verbatim, ~found.exact, *scores)]
        keys = list(zip(*columns, (ids[row] for row in found.rows.tolist()), strict=True))
        order = np.array(sorted(range(len(keys)), key=keys.__getitem__)[:top_k], dtype=np.int64)
        columns_of = {field.name: getattr(found, field.name) for field in fields(found)}
        return replace(found, **{name: one[order] for name, one in columns_of.items() if one is not None})

    def _candidates(self, ranking: Ranking, query: Vectors | None) -> list[Candidate]:
        found = []
        likeness = ranking.likeness()
        for place, row in enumerate(ranking.rows.tolist()):
            candidate = Candidate(self.index.ids[row], self.index[row].name, float(ranking.scores[place]), place + 1)
            if query is not None:
                candidate = candidate._replace(view=self.index.best_view(query, row))
            if ranking.dense is not None and ranking.dense_ranks is not None:
                candidate = candidate._replace(
                    dense_score=float(ranking.dense[place]), dense_rank=int(ranking.dense_ranks[place]) or None
                )
            if ranking.names is not None:
                candidate = candidate._replace(name_score=float(likeness[place]), match=ranking.match(place))
            found.append(candidate)
        return found


def _ranks(likeness: Vectors, depth: int) -> RowIds:
    """Ranks by likeness from 1, equal for equal names; 0 for what shares nothing or stands behind the depth."""
    ranks = 1 + np.searchsorted(-np.sort(likeness)[::-1], -likeness, "left")
    return np.where((likeness > 0) & (ranks <= depth), ranks, 0)
