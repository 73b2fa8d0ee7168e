"""What a re-ranker has to offer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from modelscope_plugin.data.records import Entity, Mention
from modelscope_plugin.errors import InputError
from modelscope_plugin.types import Scores


@runtime_checkable
class Reranker(Protocol):
    """Scores the candidates of mentions by reading each mention together with the text of each candidate.

    Retrieval compares vectors that were computed apart; a re-ranker, such as a cross encoder, sees the tokens of both
    texts, which is slower and more exact. It is therefore given only the first candidates that retrieval found, and
    the linker orders these by its score together with what retrieval knew of them.
    """

    @property
    def name(self) -> str:
        """Folder or hub id of the model."""

    @property
    def fingerprint(self) -> str:
        """Digest of all that decides a score; weights fitted for one re-ranker are refused for another."""

    def score(
        self,
        mentions: Sequence[str | Mention],
        entities: Sequence[Sequence[Entity]],
        *,
        batch_size: int | None = None,
    ) -> list[Scores]:
        """Score the candidates of many mentions.

        Args:
            mentions: `Mention` objects or texts with a marked mention, n.
            entities: For each mention its candidates; may be empty.
            batch_size: Texts in one forward pass; by default as many as suit the device and their length.

        Returns:
            For each mention, in input order, the scores of its candidates, float32 (candidates,), higher for a better
            one. A score depends on the mention and the candidate alone, neither on the others nor on the batches;
            candidates of the same text have the same score.

        Raises:
            InputError: If there is not one list of candidates for each mention.
        """
        ...


def check_lists(mentions: Sequence[object], candidates: Sequence[object]) -> None:
    """Raise `InputError` unless there is one list of candidates for each mention."""
    if len(mentions) != len(candidates):
        raise InputError(f"{len(mentions)} mentions and {len(candidates)} lists of candidates; give one for each")
