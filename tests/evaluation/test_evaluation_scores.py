import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelscope_plugin.data.records import Mention
from modelscope_plugin.errors import InputError
from modelscope_plugin.evaluation.evaluate import Evaluation, Group, score_rankings

IDS = ["a", "b", "c", "d"]


def mention(*entity_ids: str) -> Mention:
    return Mention("大鹏", 0, 2, entity_ids)


def test_scores_count_a_gold_entity_among_the_first_k() -> None:
    result = score_rankings([["a", "b"], ["b", "a"], ["c", "d"]], [mention("a")] * 3, IDS, [1, 2])
    assert result.recall == {1: 1 / 3, 2: 2 / 3}


def test_scores_take_the_best_of_several_golds() -> None:
    result = score_rankings([["c", "b", "a"]], [mention("a", "b")], IDS, [1, 2])
    assert (result.recall, result.mrr) == ({1: 0.0, 2: 1.0}, 0.5)


def test_scores_count_mentions_whose_golds_are_all_unknown() -> None:
    rankings = [["a"], ["a"], ["a"]]
    result = score_rankings(rankings, [mention("x"), mention("x", "a"), mention("a")], IDS, [1])
    assert (result.unknown_gold, result.mentions, result.recall[1]) == (1, 3, 2 / 3)


def test_scores_of_single_golds_leave_the_others_out() -> None:
    result = score_rankings([["b"], ["a"], ["a"]], [mention("a"), mention("a"), mention("a", "b")], IDS, [1])
    assert result.groups == {"single_gold": Group(2, {1: 0.5})}


def test_scores_without_single_golds_have_no_figure_for_them() -> None:
    result = score_rankings([["a"]], [mention("a", "b")], IDS, [1])
    assert result.groups == {}


def test_scores_of_seen_and_unseen_entities_are_apart() -> None:
    rankings = [["a"], ["b"], ["a"]]
    result = score_rankings(rankings, [mention("a"), mention("b", "c"), mention("d")], IDS, [1], seen={"a", "c"})
    assert result.groups["seen"] == Group(2, {1: 1.0})
    assert result.groups["unseen"] == Group(1, {1: 0.0})


def test_scores_of_ambiguous_names_are_apart() -> None:
    result = score_rankings([["a"]], [mention("a")], IDS, [1], ambiguous={"大鹏"})
    assert result.groups["ambiguous"] == Group(1, {1: 1.0})
    assert "unambiguous" not in result.groups


@given(
    hits=st.lists(st.integers(0, 6), min_size=1, max_size=20),
    ks=st.lists(st.integers(1, 6), min_size=1, max_size=4, unique=True),
)
def test_curve_goes_through_the_recall_at_every_k(hits: list[int], ks: list[int]) -> None:
    # Rank 0 stands for a miss.
    rankings = [["b"] * (hit - 1) + ["a"] if hit else ["b"] for hit in hits]
    result = score_rankings(rankings, [mention("a")] * len(hits), IDS, ks)
    assert len(result.curve) == max(ks)
    assert all(result.curve[k - 1] == recall for k, recall in result.recall.items())
    assert result.curve == sorted(result.curve)


def test_mean_recall_is_the_mean_over_k() -> None:
    assert score_rankings([["b", "a"]], [mention("a")], IDS, [1, 2]).mean_recall == 0.5


def test_scores_give_the_mean_reciprocal_rank() -> None:
    result = score_rankings([["a", "b"], ["b", "a"], ["c", "d"]], [mention("a")] * 3, IDS, [2])
    assert result.mrr == pytest.approx((1 + 0.5 + 0) / 3)


def test_scores_count_the_reciprocal_rank_only_within_the_largest_k() -> None:
    result = score_rankings([["b", "c", "a"]], [mention("a")], IDS, [1, 2])
    assert result.mrr == 0.0


def test_scores_count_the_knowledge_base() -> None:
    assert score_rankings([["a"]], [mention("a")], IDS, [1]).entities == 4


def test_scores_pass_on_what_was_left_out() -> None:
    result = score_rankings([["a"]], [mention("a")], IDS, [1], nil_mentions=3, unlabelled_mentions=5)
    assert (result.nil_mentions, result.unlabelled_mentions) == (3, 5)


def test_scores_take_ks_from_a_stream_in_any_order() -> None:
    assert list(score_rankings([["a"]], [mention("a")], IDS, iter([16, 4, 16])).recall) == [4, 16]


def test_scores_take_an_empty_ranking_for_a_miss() -> None:
    assert score_rankings([[]], [mention("a")], IDS, [1]).recall == {1: 0.0}


def test_scores_of_no_mention_are_refused() -> None:
    with pytest.raises(InputError, match="no mention"):
        score_rankings([], [], IDS, [1])


def test_scores_of_another_number_of_rankings_are_refused() -> None:
    with pytest.raises(ValueError, match=r"shorter|longer"):
        score_rankings([["a"]], [mention("a")] * 2, IDS, [1])


@pytest.mark.parametrize("ks", [[], [0], [-4]])
def test_scores_refuse_a_k_that_is_not_positive(ks: list[int]) -> None:
    with pytest.raises(InputError, match=r"k=.* must be an integer of at least 1|no value of k"):
        score_rankings([["a"]], [mention("a")], IDS, ks)


def test_evaluation_record_is_one_flat_json_object() -> None:
    record = Evaluation(
        {4: 0.5, 16: 1.0}, 0.25, 2, 1, 3, 0, 9, {"single_gold": Group(1, {4: 0.0, 16: 1.0})}, (3, 9)
    ).to_record()
    assert json.loads(json.dumps(record)) == {
        "recall@4": 0.5,
        "recall@16": 1.0,
        "mrr": 0.25,
        "mentions": 2,
        "entities": 9,
        "nil_mentions": 1,
        "unlabelled_mentions": 3,
        "unknown_gold": 0,
        "single_gold_mentions": 1,
        "single_gold_recall@4": 0.0,
        "single_gold_recall@16": 1.0,
    }
