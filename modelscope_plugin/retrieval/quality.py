"""How good vectors and names of an index are at finding its own entities, and the fusion that follows from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from modelscope_plugin.checks import check_integer, check_number
from modelscope_plugin.retrieval.fusion import Fusion

# A ratio of vectors to names from which the vectors are as good as those of a model trained for its knowledge base; the
# default weight of names suits it. Below it the weight rises with this power, up to the largest weight.
_GOOD_RATIO, _POWER, _MOST = 0.8, 14, 20.0
# Below this ratio vectors order entities of one name worse than their ids do.
_NAMESAKES_RATIO = 0.65


@dataclass(frozen=True)
class Quality:
    """Mean reciprocal ranks of both halves of hybrid retrieval, on mentions made from the names of the index.

    Attributes:
        dense: That of the vectors, 0 to 1, by kind of mention: ``part`` of a name, a ``padded`` name.
        names: That of the names, by the same kinds.
        mentions: Mentions of each kind.
        entities: Size of the index when it was measured.

    Raises:
        InputError: If a rank is not between 0 and 1 or a count is negative.
    """

    dense: Mapping[str, float]
    names: Mapping[str, float]
    mentions: int
    entities: int

    def __post_init__(self) -> None:
        for half in (self.dense, self.names):
            for kind, rank in half.items():
                check_number(kind, rank, least=0, most=1)
        for name in ("mentions", "entities"):
            check_integer(name, getattr(self, name), least=0)

    @property
    def ratio(self) -> float:
        """The quality of the vectors as a share of that of the names, of the kind where it is the least."""
        return min(self.dense[kind] / max(self.names[kind], 1e-9) for kind in self.names)

    @property
    def fusion(self) -> Fusion:
        """Reciprocal ranks whose weight of names rises as the vectors are worse.

        A model that finds its entities by changed names nearly as well as the names do is far better than these where
        mentions share few characters with names: there the names add what the vectors miss. One that finds them much
        worse was not trained for this knowledge base: the names go first.
        """
        default = Fusion()
        weight = default.names * max(1.0, _GOOD_RATIO / max(self.ratio, 1e-9)) ** _POWER
        return Fusion(names=min(weight, _MOST), orders_namesakes=self.ratio >= _NAMESAKES_RATIO)

    def to_record(self) -> dict[str, Any]:
        """As a JSON object; the fusion is in it for readers and is derived anew on reading."""
        fusion = self.fusion
        record = {**asdict(self), "dense": dict(self.dense), "names": dict(self.names)}
        return record | {"fusion": {"names": fusion.names, "orders_namesakes": fusion.orders_namesakes}}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Quality:
        """From a JSON object.

        Raises:
            ValueError: If it is none that `to_record` makes.
        """
        try:
            quality = cls(**{name: record[name] for name in cls.__dataclass_fields__})
            if not quality.names or quality.dense.keys() != quality.names.keys():
                raise TypeError("dense and names have other kinds")
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"quality: {error}") from None
        return quality

    def __str__(self) -> str:
        halves = ", ".join(
            f"{kind} {100 * self.dense[kind]:.1f} and {100 * self.names[kind]:.1f}" for kind in self.names
        )
        fusion = self.fusion
        ties = "" if fusion.orders_namesakes else "; entities of one name in the order of their ids"
        return (
            f"vectors and names, mean reciprocal rank on {self.mentions} mentions made of names each: {halves}; hybrid "
            f"weighs names {fusion.names:.2g} to vectors {fusion.dense:.2g}{ties}"
        )
