from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from modelscope_plugin.retrieval.lexical.best_rows import best_rows

SCORED = st.lists(st.tuples(st.integers(0, 9), st.sampled_from([0.0, 1e-30, 0.25, 0.5, 1.0])), max_size=30)


@given(scored=SCORED, top_k=st.integers(1, 12))
def test_each_row_counts_with_its_best_score_and_equal_rows_rise(scored: list[tuple[int, float]], top_k: int) -> None:
    best: dict[int, float] = {}
    for row, score in scored:
        best[row] = max(best.get(row, 0.0), score)
    wanted = sorted(best, key=lambda row: (-best[row], row))[:top_k]
    rows = np.array([row for row, _ in scored], np.int64)
    found, scores = best_rows(rows, np.array([score for _, score in scored], np.float32), top_k)
    assert found.tolist() == wanted
    np.testing.assert_array_equal(scores, np.array([best[row] for row in wanted], np.float32))
