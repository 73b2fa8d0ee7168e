"""How an index is searched, and the recall that was measured."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Tuning:
    """How an index is searched.

    Attributes:
        kind: ``exact``, or the kind of FAISS index.
        precision: What the vectors are stored as.
        truncate_dim: Dimensions that are kept; 0 for all.
        effort: Inverted lists (``nprobe``) or nodes of the graph (``efSearch``) that a search looks at; 0 for exact
            search.
        recall: Share of the exact first k entities that is found, by k; empty for exact search of whole float32 ones.
        queries: Queries this was measured on.
        trained: Vectors that the index was trained and filled with.
        search: What was asked for: ``exact``, ``approximate``, ``auto``, or a kind of FAISS index.
        renewed: Whether it was made again of changed vectors; recall is then measured against exact search of these as
            they are stored.
    """

    kind: str = "exact"
    precision: str = "float32"
    truncate_dim: int = 0
    effort: int = 0
    recall: dict[int, float] = field(default_factory=dict)
    queries: int = 0
    trained: int = 0
    search: str = "auto"
    renewed: bool = False

    def to_record(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self) | {"recall": {str(k): value for k, value in self.recall.items()}}

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Tuning:
        """From a JSON object.

        Raises:
            ValueError: If it is none that `to_record` makes.
        """
        try:
            recall = {int(k): float(value) for k, value in record["recall"].items()}
            tuning = cls(**{**record, "recall": recall})
            for name in record.keys() - {"recall"}:
                if type(record[name]) is not type(getattr(cls, name)):
                    raise TypeError(f"{name}={record[name]!r} is not of type {type(getattr(cls, name)).__name__}")
            return tuning
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"search: {error}") from None

    def __str__(self) -> str:
        parts = [f"search {self.kind}", self.precision]
        if self.truncate_dim:
            parts.append(f"{self.truncate_dim} dimensions")
        if self.recall:
            figures = ", ".join(f"@{k} {100 * value:.1f}" for k, value in self.recall.items())
            of = "the exact list" + " of what is stored" * self.renewed
            parts.append(f"recall of {of} {figures} on {self.queries} queries")
        return "; ".join(parts)
