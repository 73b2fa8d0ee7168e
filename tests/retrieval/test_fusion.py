from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelscope_plugin.errors import InputError
from modelscope_plugin.retrieval import Fusion

RANKS = st.lists(st.integers(0, 20), min_size=1, max_size=8)
NO_SCORES = (np.zeros(1), np.zeros(1), np.zeros(1))


@given(ranks=RANKS, constant=st.floats(0, 60))
def test_reciprocal_ranks_are_summed(ranks: list[int], constant: float) -> None:
    listed = np.array(ranks)
    fused = Fusion(rank_constant=constant, dense=1, names=2, learned=3).fuse(
        (np.zeros(len(ranks)),) * 3, (listed, listed, np.zeros_like(listed))
    )
    expected = [3 / (constant + rank) if rank else 0.0 for rank in ranks]
    np.testing.assert_allclose(fused, expected)


@given(st.integers(2, 200), st.integers(1, 200))
def test_by_default_a_list_of_names_never_displaces_the_first_of_the_dense_list(rank: int, name_rank: int) -> None:
    ranks = (np.array([1, rank]), np.array([0, name_rank]), np.array([0, 0]))
    first, other = Fusion().fuse((np.zeros(2),) * 3, ranks)
    assert first > other


def test_weighted_sum_is_over_scores() -> None:
    fused = Fusion("weighted_sum", 2.0, 1.0, 0.5).fuse(
        (np.array([0.5]), np.array([1.0]), np.array([0.2])), (np.zeros(1, np.int64),) * 3
    )
    assert fused.tolist() == pytest.approx([2.1])


@pytest.mark.parametrize("values", [{"method": "median"}, {"dense": float("nan")}, {"rank_constant": -1.0}])
def test_what_cannot_be_fused_with_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(InputError):
        Fusion(**values)  # type: ignore[arg-type]
