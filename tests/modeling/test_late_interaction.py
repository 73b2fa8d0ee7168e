from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from modelscope_plugin.data import Mention
from modelscope_plugin.encoding import EntityEncoder
from modelscope_plugin.modeling.checkpoint_files import load_entity_tokenizer
from modelscope_plugin.modeling.late_interaction import max_sim, pad_tokens, token_vectors


def best_mean(mention: torch.Tensor, entity: torch.Tensor) -> float:
    """The score of one pair by plain loops over its tokens."""
    best = [max(float(torch.dot(one, other)) for other in entity) for one in mention]
    return sum(best) / len(best)


@given(
    st.integers(0, 1000), st.lists(st.integers(1, 5), min_size=1, max_size=4), st.lists(st.integers(1, 6), min_size=1)
)
def test_max_sim_of_all_pairs_is_that_of_plain_loops(seed: int, mentions: list[int], entities: list[int]) -> None:
    torch.manual_seed(seed)
    left, right = torch.randn(len(mentions), 5, 4), torch.randn(len(entities), max(entities), 4)
    left_mask = torch.arange(5) < torch.tensor(mentions)[:, None]
    right_mask = torch.arange(max(entities)) < torch.tensor(entities)[:, None]
    scores = max_sim(left[:, None], left_mask[:, None], right[None], right_mask[None])
    expected = [
        [best_mean(left[row, :m], right[column, :e]) for column, e in enumerate(entities)]
        for row, m in enumerate(mentions)
    ]
    torch.testing.assert_close(scores, torch.tensor(expected))


def test_max_sim_scores_lists_of_candidates() -> None:
    mentions, candidates = torch.randn(2, 3, 4), torch.randn(2, 5, 6, 4)
    scores = max_sim(mentions[:, None], torch.ones(2, 1, 3), candidates, torch.ones(2, 5, 6))
    assert scores.shape == (2, 5)
    assert float(scores[1, 4]) == pytest.approx(best_mean(mentions[1], candidates[1, 4]), abs=1e-5)


def test_gradients_reach_the_tokens_that_count_and_no_padding() -> None:
    mention = torch.randn(1, 3, 4, requires_grad=True)
    entity = torch.randn(1, 2, 4, requires_grad=True)
    max_sim(mention, torch.tensor([[1, 1, 0]]), entity, torch.tensor([[1, 0]])).sum().backward()
    assert mention.grad is not None
    assert entity.grad is not None
    assert mention.grad[0].abs().sum(-1).ne(0).tolist() == [True, True, False]
    assert entity.grad[0].abs().sum(-1).ne(0).tolist() == [True, False]


def test_token_vectors_are_the_scaled_states_whatever_the_padding(encoder: EntityEncoder) -> None:
    ids = encoder.tokenizer.entity_ids(["长江", "苹果公司生产手机和电脑"])
    padded = pad_tokens(encoder.tokenizer, "entity", ids)
    del padded["token_mask"]
    with torch.inference_mode():
        vectors = token_vectors(encoder.model, "entity", **padded)
        alone = token_vectors(encoder.model, "entity", torch.tensor([ids[0]]), torch.ones(1, len(ids[0])))
        states = encoder.model.entity_tower(torch.tensor([ids[0]])).last_hidden_state
    torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(vectors.shape[:2]))
    torch.testing.assert_close(vectors[0, : len(ids[0])], alone[0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(alone, states / states.norm(dim=-1, keepdim=True))


def test_each_side_has_its_tower(encoder: EntityEncoder) -> None:
    model = copy.deepcopy(encoder.model)
    model.separate_towers()
    with torch.no_grad():
        model.entity_tower.get_input_embeddings().weight.add_(torch.randn(64))
    ids, mask = torch.tensor([encoder.tokenizer.entity_ids(["长江"])[0]]), torch.ones(1, 4)
    with torch.inference_mode():
        mention, entity = (token_vectors(model, side, ids, mask) for side in ("mention", "entity"))
        assert torch.equal(mention, token_vectors(encoder.model, "mention", ids, mask))
    assert not torch.allclose(mention, entity, atol=1e-3)


@pytest.mark.parametrize("folder", ["model_folder", "unmarked_folder"])
def test_tokens_between_the_markers_are_compared(folder: str, request: pytest.FixtureRequest) -> None:
    tokenizer = load_entity_tokenizer(request.getfixturevalue(folder))
    mention = Mention("坐船沿长江到上海", 3, 5)
    inputs = pad_tokens(tokenizer, "mention", tokenizer.mention_ids([mention, "坐船沿长江到上海", ""]))
    compared = [ids[mask].tolist() for ids, mask in zip(inputs["input_ids"], inputs["token_mask"], strict=True)]
    head, tail = tokenizer.special_ids
    assert compared == [*tokenizer.text_ids(["长江", "坐船沿长江到上海"]), head + tail]


def test_all_but_special_tokens_of_an_entity_are_compared(encoder: EntityEncoder) -> None:
    tokenizer = encoder.tokenizer
    inputs = pad_tokens(tokenizer, "entity", tokenizer.entity_ids(["苹果； 类型： Food;", "长江"]))
    assert inputs["attention_mask"].sum(-1).sub(inputs["token_mask"].sum(-1)).tolist() == [2, 2]
    assert inputs["input_ids"][1][inputs["token_mask"][1]].tolist() == tokenizer.text_ids(["长江"])[0]
