from __future__ import annotations

import pytest

from modelscope_plugin.errors import IndexFolderError, IndexMismatchError, InputError
from modelscope_plugin.retrieval import Fitted, Fusion
from modelscope_plugin.retrieval.fitted import NilWeights, RerankingWeights

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


RERANKING = RerankingWeights("hybrid", "digest", 1.0, 2.0, 3.0, 0.0, 0.5, 0.25)
AFTER = NilWeights("hybrid", 2.0, 0.0, -1.0, 0.5, "digest", 3.0, 4.0)


def test_record_gives_back_what_was_fitted_for_a_reranker() -> None:
    fitted = Fitted().with_reranking(RERANKING).with_nil(AFTER)
    assert Fitted.from_record(fitted.to_record()) == fitted
    assert fitted.names == ["reranking", "reranked_nil"]
    assert fitted.get_reranking("hybrid", "digest") == RERANKING
    assert fitted.get_reranking("dense", "digest") is None
    assert fitted.get_nil("hybrid", "digest") == AFTER
    assert (fitted.get_nil("hybrid", "another"), fitted.get_nil("hybrid")) == (None, None)


def test_weights_of_another_reranker_are_refused() -> None:
    with pytest.raises(IndexMismatchError, match=r"fitted for another re-ranker .*: .*--fit-reranking --retrieval hyb"):
        Fitted().with_reranking(RERANKING).get_reranking("hybrid", "another")


def test_what_was_fitted_on_other_candidates_goes() -> None:
    fitted = Fitted().with_reranking(RERANKING).with_nil(AFTER)
    assert fitted.with_reranking(RERANKING).names == ["reranking"]
    assert fitted.with_fusion(Fusion()).names == ["fusion"]


@pytest.mark.parametrize("values", [{"rerank": -1.0}, {"rank": None}, {"retrieval": "dense"}, {"more": 1}, 5])
def test_damaged_weights_are_said_when_they_are_asked_for_and_can_be_fitted_again(values: object) -> None:
    record = Fitted().with_reranking(RERANKING).to_record()
    record["reranking"]["hybrid"] = {**record["reranking"]["hybrid"], **values} if isinstance(values, dict) else values
    fitted = Fitted.from_record(record)
    assert fitted.to_record() == record
    with pytest.raises(IndexFolderError, match=r"fitted\.reranking\.hybrid .* fit it again with: .*--fit-reranking"):
        fitted.get_reranking("hybrid", "digest")
    assert fitted.with_reranking(RERANKING).get_reranking("hybrid", "digest") == RERANKING
