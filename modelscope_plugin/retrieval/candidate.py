"""One entity found for a mention."""

from __future__ import annotations

from typing import Any, NamedTuple


class Candidate(NamedTuple):
    """One entity found for a mention.

    Attributes:
        id: Id of the entity.
        name: Its name.
        score: What it is ranked by: the dot product of the two vectors, or a score that names are part of.
        rank: Its rank among the candidates, from 1.
        dense_score: Where names were looked at too: the dot product.
        dense_rank: Its rank in the dense list; None where that list ends before it.
        name_score: How much its best name is like the mention, 0 to 1.
        match: How the name is met: ``exact`` (a name is the mention as it is written), ``normalized`` (it is but for
            width, case, script, spaces and punctuation), ``learned`` (the words stood for the entity in a labelled
            text), ``partial``, or None.
        view: Where entities have several vectors: the text of the view that was nearest.
        rerank_score: Where a re-ranker read the candidate: its score. ``score`` is the weighted sum of it and of what
            retrieval knew; candidates behind ``rerank_top_k`` were not read and keep the score of retrieval.
        retrieval_rank: Where there is a re-ranker: the rank that retrieval gave, from 1.
        probability: Where the weights of that sum were fitted: the probability of the candidate among those that were
            re-ranked.
    """

    id: str
    name: str
    score: float
    rank: int
    dense_score: float | None = None
    dense_rank: int | None = None
    name_score: float | None = None
    match: str | None = None
    view: str | None = None
    rerank_score: float | None = None
    retrieval_rank: int | None = None
    probability: float | None = None

    def to_record(self) -> dict[str, Any]:
        """The candidate as a JSON object, without what is not known."""
        return {key: value for key, value in self._asdict().items() if value is not None}
