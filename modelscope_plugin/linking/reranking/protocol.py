"""What a re-ranker has to offer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from modelscope_plugin.data.records import Mention
from modelscope_plugin.retrieval.candidate import Candidate


@runtime_checkable
class Reranker(Protocol):
    """Orders the candidates of mentions anew by reading each mention together with each of its candidates.

    Retrieval compares vectors that were computed apart; a re-ranker, such as a cross-encoder, sees both texts at once,
    which is slower and more exact. It is therefore given only the first candidates that retrieval found. Candidates
    name entities by id; a re-ranker that reads more of an entity than its name is given the entities when it is made.
    """

    def rerank(self, mentions: Sequence[Mention], candidates: Sequence[Sequence[Candidate]]) -> list[list[Candidate]]:
        """Order the candidates of many mentions anew.

        Args:
            mentions: The mentions, n.
            candidates: For each mention its candidates as retrieval ordered them, best first; may be empty.

        Returns:
            For each mention, in input order, its candidates, best first by the re-ranker's own score, which falls
            (or stays equal) along the list; equal scores are ordered by entity id. ``score`` is that score and
            ``rank`` counts from 1; all other fields are those of the candidates given. A list holds all candidates
            given or the best of them: none is added, none stands twice. What is returned for a mention depends only
            on it and its candidates, neither on the other mentions nor on how they are batched, and is the same in
            every call.

        Raises:
            InputError: If there is not one list of candidates for each mention.
        """
        ...
