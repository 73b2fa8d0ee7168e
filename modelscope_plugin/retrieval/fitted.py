"""What was fitted for an index on labelled mentions: weights of hybrid retrieval and of re-ranking, rules of NIL."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, get_args

from modelscope_plugin.checks import check_number
from modelscope_plugin.errors import IndexFolderError, IndexMismatchError, InputError
from modelscope_plugin.retrieval.fusion import Fusion
from modelscope_plugin.text import show
from modelscope_plugin.types import Retrieval

logger = logging.getLogger(__name__)

# Far above any that is fitted, and far below what overflows.
_MOST_WEIGHT = 10**9

RETRIEVALS = get_args(Retrieval)


@dataclass(frozen=True)
class NilWeights:
    """The numbers of a rule that says when a mention has no entity; `modelscope_plugin.linking.nil` applies it.

    Attributes:
        retrieval: The retrieval it was fitted for.
        dense: Weight of the dot product.
        names: Weight of the likeness of names.
        bias: The bias.
        threshold: The confidence, 0 to 1, below which a mention has no entity.
        reranker: Fingerprint of the re-ranker it was fitted for; empty for retrieval alone.
        rerank: Weight of the re-ranker's score.
        probability: Weight of the probability of the best candidate among all that were re-ranked.

    Raises:
        InputError: If a number is none or not finite, or the threshold is not between 0 and 1.
    """

    retrieval: str
    dense: float
    names: float
    bias: float
    threshold: float
    reranker: str = ""
    rerank: float = 0.0
    probability: float = 0.0

    def __post_init__(self) -> None:
        for name in ("dense", "names", "bias", "rerank", "probability"):
            check_number(name, getattr(self, name))
        check_number("threshold", self.threshold, least=0, most=1)

    def to_record(self) -> dict[str, Any]:
        """As a JSON object; of retrieval alone as versions without re-rankers write and read it."""
        record = asdict(self)
        return record if self.reranker else {name: record[name] for name in _NIL_OF_RETRIEVAL}


_NIL_OF_RETRIEVAL = ("retrieval", "dense", "names", "bias", "threshold")


@dataclass(frozen=True)
class RerankingWeights:
    """The weights of the sum that orders re-ranked candidates; `modelscope_plugin.linking.reranking` applies it.

    The softmax of the sums is the probability of each candidate.

    Attributes:
        retrieval: The retrieval they were fitted for.
        reranker: Fingerprint of the re-ranker they were fitted for.
        rerank: Weight of the re-ranker's score.
        dense: Weight of the dot product.
        names: Weight of the likeness of names.
        learned: Weight of the likeness of names learnt from labelled mentions.
        exact: Weight of bearing the mention as a name.
        rank: Weight of minus the logarithm of the rank that retrieval gave.

    Raises:
        InputError: If a weight is none, negative or above a thousand million, or all are 0.
    """

    retrieval: str
    reranker: str
    rerank: float
    dense: float = 0.0
    names: float = 0.0
    learned: float = 0.0
    exact: float = 0.0
    rank: float = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.reranker, str):
            raise InputError(f"reranker={show(self.reranker)} must be a string")
        for name in RERANKING_FEATURES:
            check_number(name, getattr(self, name), least=0, most=_MOST_WEIGHT)
        if not any(getattr(self, name) for name in RERANKING_FEATURES):
            raise InputError("all weights are 0")


RERANKING_FEATURES = ("rerank", "dense", "names", "learned", "exact", "rank")
"""The features of a candidate that `RerankingWeights` weighs, in the order of their matrices."""


@dataclass(frozen=True)
class Damage:
    """A record that cannot be read. It is kept as it is until it is fitted again, so that the index still opens.

    Attributes:
        record: The record.
        error: What is wrong with it.
    """

    record: Any
    error: str


@dataclass(frozen=True)
class Fitted:
    """What was fitted for an index on labelled mentions.

    Attributes:
        fusion: How hybrid retrieval fuses its lists; None where nothing was fitted.
        nil: Rules that say NIL, by retrieval.
        reranking: Weights of re-ranking, by retrieval.
        reranked_nil: Rules that say NIL after re-ranking, by retrieval.
        detection_threshold: The least link probability, 0 to 1, of a name that is taken for a mention in a text; None
            where nothing was fitted.
    """

    fusion: Fusion | Damage | None = None
    nil: Mapping[str, NilWeights | Damage] = field(default_factory=dict)
    reranking: Mapping[str, RerankingWeights | Damage] = field(default_factory=dict)
    reranked_nil: Mapping[str, NilWeights | Damage] = field(default_factory=dict)
    detection_threshold: float | None = None

    @property
    def names(self) -> list[str]:
        """The names of what was fitted: ``fusion``, ``nil``, ``reranking``, ``reranked_nil``, ``detection``."""
        names = [name for name in ("fusion", *_BY_RETRIEVAL) if getattr(self, name)]
        return names if self.detection_threshold is None else [*names, "detection"]

    def get_fusion(self) -> Fusion | None:
        """The fusion; None where none was fitted.

        Raises:
            IndexFolderError: If it is damaged.
        """
        if isinstance(self.fusion, Damage):
            raise IndexFolderError(
                f"the entry fitted.fusion in the manifest.json of the index is damaged ({self.fusion.error}); fit it "
                "again with: modelscope entity evaluate DEV --index INDEX --fit-fusion --retrieval hybrid"
            )
        return self.fusion

    def get_nil(self, retrieval: str, reranker: str | None = None) -> NilWeights | None:
        """The NIL rule of a retrieval; None where none was fitted.

        Args:
            retrieval: The retrieval.
            reranker: Fingerprint of the re-ranker; None for retrieval alone.

        Raises:
            IndexFolderError: If it is damaged.
        """
        section = "nil" if reranker is None else "reranked_nil"
        rule = getattr(self, section).get(retrieval)
        if isinstance(rule, Damage):
            raise IndexFolderError(
                f"the NIL rule fitted.{section}.{retrieval} in the manifest.json of the index is damaged "
                f"({rule.error}); fit it again with: {fit_nil_command(retrieval, is_reranked=reranker is not None)}"
            )
        return None if rule is None or (reranker is not None and rule.reranker != reranker) else rule

    def get_reranking(self, retrieval: str, reranker: str) -> RerankingWeights | None:
        """The weights of re-ranking what a retrieval found; None where none were fitted.

        Args:
            retrieval: The retrieval.
            reranker: Fingerprint of the re-ranker.

        Raises:
            IndexFolderError: If they are damaged.
            IndexMismatchError: If they were fitted for another re-ranker.
        """
        weights = self.reranking.get(retrieval)
        again = f"fit it again with: {fit_reranking_command(retrieval)}"
        if isinstance(weights, Damage):
            raise IndexFolderError(
                f"the entry fitted.reranking.{retrieval} in the manifest.json of the index is damaged "
                f"({weights.error}); {again}"
            )
        if weights is not None and weights.reranker != reranker:
            raise IndexMismatchError(
                f"the weights of re-ranking in the index were fitted for another re-ranker (fingerprint "
                f"{weights.reranker}) than this one (fingerprint {reranker}); {again}"
            )
        return weights

    def with_nil(self, rule: NilWeights) -> Fitted:
        """The same with another NIL rule for its retrieval, re-ranked or not."""
        if rule.reranker:
            return replace(self, reranked_nil={**self.reranked_nil, rule.retrieval: rule})
        return replace(self, nil={**self.nil, rule.retrieval: rule})

    def with_reranking(self, weights: RerankingWeights) -> Fitted:
        """The same with other weights of re-ranking for their retrieval, whose NIL rule after re-ranking goes."""
        rules = _without(self.reranked_nil, weights.retrieval)
        return replace(self, reranking={**self.reranking, weights.retrieval: weights}, reranked_nil=rules)

    def with_fusion(self, fusion: Fusion) -> Fitted:
        """The same with another fusion.

        What was fitted on the candidates of hybrid retrieval is left out: other candidates come first now.
        """
        return replace(
            self,
            fusion=fusion,
            nil=_without(self.nil, "hybrid"),
            reranking=_without(self.reranking, "hybrid"),
            reranked_nil=_without(self.reranked_nil, "hybrid"),
        )

    def to_record(self) -> dict[str, Any]:
        """As a JSON object, without what was not fitted."""
        record: dict[str, Any] = {}
        if self.fusion is not None:
            record["fusion"] = self.fusion.record if isinstance(self.fusion, Damage) else asdict(self.fusion)
        for name in _BY_RETRIEVAL:
            if getattr(self, name):
                record[name] = {retrieval: _to_record(one) for retrieval, one in getattr(self, name).items()}
        if self.detection_threshold is not None:
            record["detection_threshold"] = self.detection_threshold
        return record

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Fitted:
        """From a JSON object; an entry that is damaged is said to be when it is asked for."""
        fusion: Fusion | Damage | None = None
        if record.get("fusion"):
            try:
                fusion = Fusion(**_without_negatives(record["fusion"]))
            except (TypeError, InputError) as error:
                fusion = Damage(record["fusion"], str(error))
        threshold = record.get("detection_threshold")
        try:
            threshold = threshold if threshold is None else check_number("threshold", threshold, least=0, most=1)
        except InputError as error:
            logger.warning("fitted.detection_threshold in the manifest.json of an index is not used (%s)", error)
            threshold = None
        return cls(
            fusion,
            detection_threshold=threshold,
            **{name: _read_by_retrieval(record.get(name, {}), kind) for name, kind in _BY_RETRIEVAL.items()},
        )


_BY_RETRIEVAL: Mapping[str, type[NilWeights] | type[RerankingWeights]] = {
    "nil": NilWeights,
    "reranking": RerankingWeights,
    "reranked_nil": NilWeights,
}
"""What is fitted for each retrieval, by its name in `Fitted` and in the manifest."""


def fit_nil_command(retrieval: str, *, is_reranked: bool = False) -> str:
    """The command that fits a NIL rule."""
    reranker = " --reranker DIR" if is_reranked else ""
    return f"modelscope entity evaluate DEV --index INDEX --fit-nil --retrieval {retrieval}{reranker}"


def fit_reranking_command(retrieval: str) -> str:
    """The command that fits the weights of re-ranking."""
    return f"modelscope entity evaluate DEV --index INDEX --fit-reranking --retrieval {retrieval} --reranker DIR"


def _without(values: Mapping[str, Any], retrieval: str) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name != retrieval}


def _to_record(value: NilWeights | RerankingWeights | Damage) -> Any:
    if isinstance(value, Damage):
        return value.record
    return value.to_record() if isinstance(value, NilWeights) else asdict(value)


def _read_by_retrieval(records: Any, kind: type[NilWeights] | type[RerankingWeights]) -> dict[str, Any]:
    if not isinstance(records, Mapping):
        records = dict.fromkeys(RETRIEVALS, records)
    found: dict[str, Any] = {}
    for retrieval, record in records.items():
        try:
            found[retrieval] = kind(**record)
            if found[retrieval].retrieval != retrieval:
                raise InputError(f"it is of {found[retrieval].retrieval!r} retrieval")
        except (TypeError, InputError) as error:
            found[retrieval] = Damage(record, str(error))
    return found


def _without_negatives(record: Any) -> Any:
    """The record of a fusion with 0 for negative weights, which version 0.1 could fit."""
    if not isinstance(record, dict):
        return record
    weights = {name: record[name] for name in ("dense", "names", "learned") if isinstance(record.get(name), float)}
    return record | {name: 0.0 for name, weight in weights.items() if weight < 0}
