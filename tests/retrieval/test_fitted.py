from __future__ import annotations

import pytest

from modelscope_plugin.errors import IndexFolderError, InputError
from modelscope_plugin.retrieval import Fitted, Fusion
from modelscope_plugin.retrieval.fitted import NilWeights

WEIGHTS = NilWeights("dense", 2.0, 0.0, -1.0, 0.5)
RECORD = {"retrieval": "dense", "dense": 2.0, "names": 0.0, "bias": -1.0, "threshold": 0.5}


def test_record_gives_back_what_was_fitted() -> None:
    fitted = Fitted(Fusion("weighted_sum", 2.0, 1.0, 0.5), {"dense": WEIGHTS})
    assert Fitted.from_record(fitted.to_record()) == fitted
    assert fitted.to_record()["nil"] == {"dense": RECORD}
    assert fitted.names == ["fusion", "nil"]


def test_nothing_fitted_is_an_empty_record() -> None:
    assert (Fitted().to_record(), Fitted.from_record({}), Fitted().names) == ({}, Fitted(), [])
    assert (Fitted().get_fusion(), Fitted().get_nil("dense")) == (None, None)


@pytest.mark.parametrize("values", [{"method": "median"}, {"rank_constant": -1.0}, {"more": 1}, [1], "sum"])
def test_damaged_fusion_is_said_when_it_is_asked_for_and_can_be_fitted_again(values: object) -> None:
    fitted = Fitted.from_record({"fusion": values})
    with pytest.raises(IndexFolderError, match=r"fitted\.fusion in .* fit it again with: .*--fit-fusion"):
        fitted.get_fusion()
    assert fitted.to_record() == {"fusion": values}
    assert fitted.with_fusion(Fusion()).get_fusion() == Fusion()


def test_damaged_rule_is_kept_until_it_is_fitted_again() -> None:
    record = {"nil": {"dense": {**RECORD, "bias": None}, "hybrid": {**RECORD, "retrieval": "hybrid"}}}
    fitted = Fitted.from_record(record)
    with pytest.raises(IndexFolderError, match=r"fit it again with: .*--fit-nil --retrieval dense"):
        fitted.get_nil("dense")
    assert fitted.get_nil("hybrid") is not None
    assert fitted.to_record() == record
    assert fitted.with_nil(WEIGHTS).get_nil("dense") == WEIGHTS


def test_new_fusion_drops_the_rule_that_was_fitted_on_other_candidates() -> None:
    hybrid = NilWeights("hybrid", 2.0, 0.0, -1.0, 0.5)
    assert list(Fitted(None, {"dense": WEIGHTS, "hybrid": hybrid}).with_fusion(Fusion()).nil) == ["dense"]


@pytest.mark.parametrize("values", [{"bias": float("nan")}, {"threshold": 1.5}, {"dense": "2"}])
def test_weights_that_are_no_numbers_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(InputError):
        NilWeights(**{**RECORD, **values})  # type: ignore[arg-type]


def test_negative_weights_of_an_earlier_version_count_as_0() -> None:
    record = {"method": "weighted_sum", "dense": 2.0, "names": -0.13, "learned": 1.0, "rank_constant": 1.0}
    assert Fitted.from_record({"fusion": record}).get_fusion() == Fusion("weighted_sum", 2.0, 0.0, 1.0)
