from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from modelscope_plugin.linking.reranking.token_cache import TokenCache
from modelscope_plugin.types import TokenVectors


def encode(texts: list[str]) -> list[TokenVectors]:
    """One vector of 4 numbers for each character: 8 bytes a character."""
    return [np.array([[ord(one)] * 4 for one in text], dtype=np.float16) for text in texts]


@given(st.lists(st.lists(st.text("abcdefgh", min_size=1, max_size=6), max_size=5), max_size=12), st.integers(0, 100))
def test_every_text_has_its_own_vectors_and_the_limit_holds(calls: list[list[str]], limit: int) -> None:
    cache = TokenCache(limit)
    for texts in calls:
        found = cache.look_up(texts, encode)
        for text in texts:
            np.testing.assert_array_equal(found[text], encode([text])[0])
        assert cache.size <= limit
        assert cache.size == sum(array.nbytes for array in cache._arrays.values())


def test_what_was_not_used_for_longest_is_dropped_first() -> None:
    cache = TokenCache(24)
    asked: list[str] = []

    def remember(texts: list[str]) -> list[TokenVectors]:
        asked.extend(texts)
        return encode(texts)

    for text in ("a", "b", "c", "a", "d", "a", "c", "b"):
        cache.look_up([text], remember)
    assert asked == ["a", "b", "c", "d", "b"]
    assert len(cache) == 3
