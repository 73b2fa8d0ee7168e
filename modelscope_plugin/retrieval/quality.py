"""How good vectors and names of an index are at finding its own entities, and the fusion that follows from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from modelscope_plugin.checks import check_integer, check_number
from modelscope_plugin.retrieval.fusion import Fusion

# A ratio of vectors to names from which the vectors are as good as those of a model trained for its knowledge base; the
# default weight of names suits it. Below it the weight rises with this power, up to the largest weight.
_GOOD_RATIO, _POWER, _MOST = 0.84, 17, 20.0
# Below this ratio vectors order entities of one name worse than their ids do.
_NAMESAKES_RATIO = 0.7


@dataclass(frozen=True)
class Quality:
    """Mean reciprocal ranks of both halves of hybrid retrieval, on mentions made from the names of the index.

    Attributes:
        dense: That of the vectors, 0 to 1.
        names: That of the names, 0 to 1.
        mentions: Number of mentions.
        entities: Size of the index when it was measured.

    Raises:
        InputError: If a rank is not between 0 and 1 or a count is negative.
    """

    dense: float
    names: float
    mentions: int
    entities: int

    def __post_init__(self) -> None:
        for name in ("dense", "names"):
            check_number(name, getattr(self, name), least=0, most=1)
        for name in ("mentions", "entities"):
            check_integer(name, getattr(self, name), least=0)

    @property
    def ratio(self) -> float:
        """The quality of the vectors as a share of that of the names."""
        return self.dense / max(self.names, 1e-9)

    @property
    def fusion(self) -> Fusion:
        """Reciprocal ranks whose weight of names rises as the vectors are worse.

        A model that finds its entities by changed names nearly as well as the names do is far better than these where
        mentions share few characters with names: there the names add what the vectors miss. One that finds them much
        worse was not trained for this knowledge base: the names go first. The numbers were set on four knowledge bases,
        each with a model of its own, one of another and one of random weights (``benchmarks/fusion.py``).
        """
        default = Fusion()
        weight = default.names * max(1.0, _GOOD_RATIO / max(self.ratio, 1e-9)) ** _POWER
        return Fusion(names=min(weight, _MOST), orders_namesakes=self.ratio >= _NAMESAKES_RATIO)

    def to_record(self) -> dict[str, Any]:
        """As a JSON object; the fusion is in it for readers and is derived anew on reading."""
        fusion = self.fusion
        return asdict(self) | {"fusion": {"names": fusion.names, "orders_namesakes": fusion.orders_namesakes}}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Quality:
        """From a JSON object.

        Raises:
            ValueError: If it is none that `to_record` makes.
        """
        try:
            return cls(**{name: record[name] for name in cls.__dataclass_fields__})
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"quality: {error}") from None

    def __str__(self) -> str:
        fusion = self.fusion
        ties = "" if fusion.orders_namesakes else "; entities of one name are in the order of their ids"
        return (
            f"mean reciprocal rank on {self.mentions} mentions made of names: vectors {100 * self.dense:.1f}, names "
            f"{100 * self.names:.1f}; hybrid weighs names {fusion.names:.2g} to vectors {fusion.dense:.2g}{ties}"
        )
