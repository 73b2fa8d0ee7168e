from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from conftest import ENTITIES, MENTIONS

from modelscope_plugin.data import Entity, entity_text
from modelscope_plugin.encoding import EntityEncoder
from modelscope_plugin.errors import InputError
from modelscope_plugin.linking.reranking import late_interaction
from modelscope_plugin.linking.reranking.late_interaction import LateInteraction
from modelscope_plugin.linking.reranking.protocol import Reranker
from modelscope_plugin.modeling.late_interaction import pad_tokens, token_vectors

CANDIDATES = [ENTITIES[:3], ENTITIES, [], ENTITIES[3:], ENTITIES[::-1], ENTITIES[1:2]]


def compared(encoder: EntityEncoder, side: str, ids: list[int]) -> list[torch.Tensor]:
    """The vectors of the tokens of one text that are compared."""
    inputs = pad_tokens(encoder.tokenizer, side, [ids])  # type: ignore[arg-type]
    mask = inputs.pop("token_mask")[0]
    with torch.inference_mode():
        return list(token_vectors(encoder.model, side, **inputs)[0][mask])  # type: ignore[arg-type]


def test_scores_are_those_of_plain_loops_in_input_order(encoder: EntityEncoder) -> None:
    reranker: Reranker = LateInteraction(encoder)
    scores = reranker.score(MENTIONS, CANDIDATES)
    assert [len(one) for one in scores] == [3, 6, 0, 3, 6, 1]
    tokenizer = encoder.tokenizer
    for mention, entities, one in zip(MENTIONS, CANDIDATES, scores, strict=True):
        words = compared(encoder, "mention", tokenizer.mention_ids([mention])[0])
        texts = [compared(encoder, "entity", ids) for ids in tokenizer.entity_ids(list(map(entity_text, entities)))]
        expected = [sum(max(float(w @ token) for token in text) for w in words) / len(words) for text in texts]
        np.testing.assert_allclose(one, expected, atol=2e-3)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_scores_do_not_depend_on_batches_and_company(
    encoder: EntityEncoder, batch_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = LateInteraction(encoder).score(MENTIONS, CANDIDATES)
    monkeypatch.setattr(late_interaction, "_CHUNK", 2)
    apart = LateInteraction(encoder).score(MENTIONS, CANDIDATES, batch_size=batch_size)
    for one, other in zip(together, apart, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-5)


def test_candidates_of_one_text_have_one_score(encoder: EntityEncoder) -> None:
    twins = [Entity(f"twin-{number}", "长江", description="亚洲最长的河流") for number in range(7)]
    (scores,) = LateInteraction(encoder).score(MENTIONS[-1:], [[*twins[:3], *ENTITIES, *twins[3:]]])
    assert len({float(scores[row]) for row in (0, 1, 2, -4, -3, -2, -1)}) == 1


def test_an_entity_is_encoded_once(encoder: EntityEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    reranker = LateInteraction(encoder)
    first = reranker.score(MENTIONS, [ENTITIES] * len(MENTIONS))
    encoded: list[str] = []
    encode = reranker._encode_texts
    monkeypatch.setattr(reranker, "_encode_texts", lambda texts, size: encoded.extend(texts) or encode(texts, size))
    other = Entity("other", "小品")
    second = reranker.score(MENTIONS, [[*ENTITIES, other]] * len(MENTIONS))
    assert encoded == [entity_text(other)]
    for one, two in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, two[:-1])


def test_without_a_cache_the_scores_are_the_same(encoder: EntityEncoder) -> None:
    kept, none = LateInteraction(encoder), LateInteraction(encoder, cache_bytes=0)
    for one, two in zip(kept.score(MENTIONS, CANDIDATES), none.score(MENTIONS, CANDIDATES), strict=True):
        np.testing.assert_array_equal(one, two)


def test_a_model_in_training_is_scored_without_dropout_and_stays_in_training(encoder: EntityEncoder) -> None:
    own = copy.deepcopy(encoder)
    own.model.train()
    scores = LateInteraction(own).score(MENTIONS, CANDIDATES)
    assert own.model.training
    for one, two in zip(scores, LateInteraction(encoder).score(MENTIONS, CANDIDATES), strict=True):
        np.testing.assert_array_equal(one, two)


def test_lists_that_do_not_fit_the_mentions_are_refused(encoder: EntityEncoder) -> None:
    with pytest.raises(InputError, match="6 mentions and 1 lists of candidates"):
        LateInteraction(encoder).score(MENTIONS, [ENTITIES])
