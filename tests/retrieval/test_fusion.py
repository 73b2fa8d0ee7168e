from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelscope_plugin.errors import InputError
from modelscope_plugin.retrieval import Fusion

RANKS = st.lists(st.integers(0, 20), min_size=1, max_size=8)


@given(ranks=RANKS, likeness=st.floats(0, 1), constant=st.floats(0, 60))
def test_reciprocal_ranks_are_summed_names_by_the_root_of_their_likeness(
    ranks: list[int], likeness: float, constant: float
) -> None:
    listed, alike = np.array(ranks), np.full(len(ranks), likeness)
    fused = Fusion(rank_constant=constant, dense=1, names=2, learned=3).fuse(
        (np.zeros(len(ranks)), alike, np.zeros(len(ranks))), (listed, listed, np.zeros_like(listed))
    )
    expected = [(1 + 2 * likeness**0.5) / (constant + rank) if rank else 0.0 for rank in ranks]
    np.testing.assert_allclose(fused, expected)


@pytest.mark.parametrize(("names", "learned", "counts"), [(0.4, 0.5, True), (0.5, 0.4, False), (0.4, 0.4, False),
                                                          (1.0, 1.0, True), (0.0, 0.0, False)])  # fmt: skip
def test_a_learned_name_counts_where_it_is_liker_than_the_names_of_the_entity(
    names: float, learned: float, counts: bool
) -> None:
    fused = Fusion(dense=0, names=0, learned=1).fuse(
        (np.zeros(1), np.array([names]), np.array([learned])),
        (np.zeros(1, np.int64), np.ones(1, np.int64), np.ones(1, np.int64)),
    )
    assert fused.tolist() == [0.5 if counts else 0.0]


@given(st.integers(3, 200), st.integers(1, 200))
def test_by_default_a_list_of_names_does_not_displace_the_first_two_of_the_dense_list(
    rank: int, name_rank: int
) -> None:
    ranks = (np.array([1, 2, rank]), np.array([0, 0, name_rank]), np.array([0, 0, 0]))
    first, second, other = Fusion().fuse((np.zeros(3), np.array([0, 0, 0.1]), np.zeros(3)), ranks)
    assert first > second > other


def test_weighted_sum_is_over_scores() -> None:
    fused = Fusion("weighted_sum", 2.0, 1.0, 0.5).fuse(
        (np.array([0.5]), np.array([1.0]), np.array([0.2])), (np.zeros(1, np.int64),) * 3
    )
    assert fused.tolist() == pytest.approx([2.1])


@pytest.mark.parametrize(
    "values",
    [
        {"method": "median"},
        {"dense": float("nan")},
        {"rank_constant": -1.0},
        {"learned": -0.1},
        {"orders_namesakes": 1},
    ],
)
def test_what_cannot_be_fused_with_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(InputError):
        Fusion(**values)  # type: ignore[arg-type]
