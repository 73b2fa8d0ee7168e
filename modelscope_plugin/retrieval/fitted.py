"""What was fitted for an index on labelled mentions: the weights of hybrid retrieval, and rules that say NIL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, get_args

from modelscope_plugin.checks import check_number
from modelscope_plugin.errors import IndexFolderError, InputError
from modelscope_plugin.retrieval.fusion import Fusion
from modelscope_plugin.types import Retrieval

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

    Raises:
        InputError: If a number is none or not finite, or the threshold is not between 0 and 1.
    """

    retrieval: str
    dense: float
    names: float
    bias: float
    threshold: float

    def __post_init__(self) -> None:
        for name in ("dense", "names", "bias"):
            check_number(name, getattr(self, name))
        check_number("threshold", self.threshold, least=0, most=1)


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
    """

    fusion: Fusion | Damage | None = None
    nil: Mapping[str, NilWeights | Damage] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """The names of what was fitted: ``fusion``, ``nil``."""
        return [name for name, value in (("fusion", self.fusion), ("nil", self.nil)) if value]

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

    def get_nil(self, retrieval: str) -> NilWeights | None:
        """The NIL rule of a retrieval; None where none was fitted.

        Raises:
            IndexFolderError: If it is damaged.
        """
        rule = self.nil.get(retrieval)
        if isinstance(rule, Damage):
            raise IndexFolderError(
                f"the NIL rule fitted.nil.{retrieval} in the manifest.json of the index is damaged ({rule.error}); "
                f"fit it again with: {fit_nil_command(retrieval)}"
            )
        return rule

    def with_nil(self, rule: NilWeights) -> Fitted:
        """The same with another NIL rule for its retrieval."""
        return replace(self, nil={**self.nil, rule.retrieval: rule})

    def with_fusion(self, fusion: Fusion) -> Fitted:
        """The same with another fusion.

        The NIL rule of hybrid retrieval is left out: other candidates come first now than those it was fitted on.
        """
        return Fitted(fusion, {name: rule for name, rule in self.nil.items() if name != "hybrid"})

    def to_record(self) -> dict[str, Any]:
        """As a JSON object, without what was not fitted."""
        record: dict[str, Any] = {}
        if self.fusion is not None:
            record["fusion"] = self.fusion.record if isinstance(self.fusion, Damage) else asdict(self.fusion)
        if self.nil:
            record["nil"] = {
                name: rule.record if isinstance(rule, Damage) else asdict(rule) for name, rule in self.nil.items()
            }
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
        rules = record.get("nil", {})
        if not isinstance(rules, Mapping):
            rules = dict.fromkeys(RETRIEVALS, rules)
        return cls(fusion, {name: _nil_weights(name, rule) for name, rule in rules.items()})


def fit_nil_command(retrieval: str) -> str:
    """The command that fits a NIL rule."""
    return f"modelscope entity evaluate DEV --index INDEX --fit-nil --retrieval {retrieval}"


def _without_negatives(record: Any) -> Any:
    """The record of a fusion with 0 for negative weights, which version 0.2 and earlier could fit."""
    if not isinstance(record, dict):
        return record
    weights = {name: record[name] for name in ("dense", "names", "learned") if isinstance(record.get(name), float)}
    return record | {name: 0.0 for name, weight in weights.items() if weight < 0}


def _nil_weights(retrieval: str, record: Any) -> NilWeights | Damage:
    try:
        rule = NilWeights(**record)
        if rule.retrieval != retrieval:
            raise InputError(f"it is of {rule.retrieval!r} retrieval")
        return rule
    except (TypeError, InputError) as error:
        return Damage(record, str(error))
