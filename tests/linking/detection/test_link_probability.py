"""Link probabilities, and the choice among overlapping names."""

from __future__ import annotations

from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelscope_plugin.linking.detection.link_probability import LinkProbabilities, choose_spans, count_links
from modelscope_plugin.linking.detection.protocol import Span

SPANS = st.tuples(st.integers(0, 12), st.integers(1, 6)).map(lambda one: (one[0], one[0] + one[1]))
MATCHES = st.lists(st.tuples(SPANS, st.sampled_from(["高铁", "南京", "南京南站", "央行"])), max_size=7, unique=True)
COUNTS = {"高铁": (10, 1), "南京": (8, 4), "南京南站": (4, 4), "央行": (1, 0)}


def test_counts_names_and_those_that_are_mentions() -> None:
    first = ([((0, 2), "南京"), ((0, 4), "南京南站"), ((5, 7), "高铁")], {(0, 4)})
    second = ([((0, 2), "高铁")], {(0, 2), (4, 6)})
    assert count_links([first, second]) == {"南京": (1, 0), "南京南站": (1, 1), "高铁": (2, 1)}


@given(st.dictionaries(st.text(min_size=1, max_size=12), st.tuples(st.integers(1, 50), st.integers(0, 50)), max_size=9))
def test_probabilities_are_between_0_and_1_and_approach_the_counted_share(counts: dict[str, tuple[int, int]]) -> None:
    counts = {name: (stands, min(stands, mentions)) for name, (stands, mentions) in counts.items()}
    probabilities = LinkProbabilities(counts)
    for name, (stands, mentions) in counts.items():
        assert 0 < probabilities.of(name) < 1
        assert abs(probabilities.of(name) - mentions / stands) <= 1 / (stands + 1)
    assert 0 < probabilities.of("从未见过") < 1


def test_unseen_names_get_the_mean_of_their_length() -> None:
    probabilities = LinkProbabilities({"啊啊": (100, 1), "万历十五年": (100, 99)})
    assert probabilities.of("哦哦") < 0.1
    assert probabilities.of("红楼梦故事") > 0.9


def brute_force(matches: list[tuple[Span, str]], probabilities: LinkProbabilities, threshold: float) -> float:
    """The largest sum over all sets of spans that do not overlap."""
    return max(
        sum((probabilities.of(name) - threshold) * (end - start) for (start, end), name in chosen)
        for size in range(len(matches) + 1)
        for chosen in combinations(matches, size)
        if all(one[0][1] <= two[0][0] or two[0][1] <= one[0][0] for one, two in combinations(chosen, 2))
    )


@given(MATCHES, st.floats(0, 1))
def test_the_best_set_of_spans_is_chosen(matches: list[tuple[Span, str]], threshold: float) -> None:
    probabilities = LinkProbabilities(COUNTS)
    chosen = choose_spans(matches, probabilities, threshold)
    assert chosen == sorted(chosen)
    assert all(earlier[1] <= later[0] for earlier, later in pairwise(chosen))
    best = {span: max(probabilities.of(name) for other, name in matches if other == span) for span, _ in matches}
    reached = sum((best[span] - threshold) * (span[1] - span[0]) for span in chosen)
    assert reached == pytest.approx(brute_force(matches, probabilities, threshold))


@given(MATCHES)
def test_the_order_of_the_matches_does_not_matter(matches: list[tuple[Span, str]]) -> None:
    probabilities = LinkProbabilities(COUNTS)
    assert choose_spans(matches, probabilities, 0.3) == choose_spans(matches[::-1], probabilities, 0.3)
