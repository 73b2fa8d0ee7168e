from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelscope_plugin.config.evaluation_settings import check_ks
from modelscope_plugin.errors import InputError
from modelscope_plugin.evaluation.recall import find_first_hit, mean_reciprocal_rank, recall_at_k

HITS = st.lists(st.none() | st.integers(1, 20), min_size=1, max_size=30)
KS = st.lists(st.integers(1, 20), min_size=1, max_size=5)
checked = settings(deadline=None, max_examples=100)


@pytest.mark.parametrize(
    ("gold", "rank"), [(["a"], 1), (["c"], 3), (["c", "b"], 2), (["x"], None), ([], None), (["x", "c"], 3)]
)
def test_first_hit_is_the_rank_of_the_first_gold_entity(gold: list[str], rank: int | None) -> None:
    assert find_first_hit(["a", "b", "c"], gold) == rank


def test_first_hit_in_an_empty_ranking_is_none() -> None:
    assert find_first_hit([], ["a"]) is None


def test_recall_counts_hits_up_to_k() -> None:
    assert recall_at_k([1, 4, 5, None], [4, 1, 16]) == {1: 0.25, 4: 0.5, 16: 0.75}


def test_recall_has_each_k_once_in_rising_order() -> None:
    assert list(recall_at_k([1], [16, 4, 16, 1])) == [1, 4, 16]


@checked
@given(HITS, KS)
def test_recall_lies_between_nothing_and_everything_found(hits: list[int | None], ks: list[int]) -> None:
    found = sum(hit is not None for hit in hits) / len(hits)
    assert all(0 <= value <= found for value in recall_at_k(hits, ks).values())


@checked
@given(HITS, KS)
def test_recall_never_falls_with_k(hits: list[int | None], ks: list[int]) -> None:
    values = list(recall_at_k(hits, ks).values())
    assert values == sorted(values)


def test_recall_of_no_mention_is_refused() -> None:
    with pytest.raises(InputError, match="no mention to measure recall on"):
        recall_at_k([], [1])


def test_reciprocal_rank_is_the_mean_over_all_mentions() -> None:
    assert mean_reciprocal_rank([1, 2, None, 4]) == (1 + 0.5 + 0 + 0.25) / 4


def test_reciprocal_rank_of_no_hit_is_zero() -> None:
    assert mean_reciprocal_rank([None, None]) == 0


def test_reciprocal_rank_of_no_mention_is_refused() -> None:
    with pytest.raises(InputError, match="no mention"):
        mean_reciprocal_rank([])


def test_check_ks_gives_each_value_once_in_rising_order() -> None:
    assert check_ks(iter([128, 4, 16, 4])) == [4, 16, 128]


@pytest.mark.parametrize("ks", [[], [0], [4, -1], [True], [4.0], ["4"], [None]])
def test_check_ks_refuses_what_is_no_positive_integer(ks: list[Any]) -> None:
    with pytest.raises(InputError, match=r"k=.* must be an integer of at least 1|no value of k"):
        check_ks(ks)
