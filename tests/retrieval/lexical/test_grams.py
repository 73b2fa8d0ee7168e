from __future__ import annotations

from collections import Counter
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from modelscope_plugin.retrieval.lexical.grams import count_grams, gram_keys


def grams(name: str) -> list[str]:
    return [*name, *(name[place : place + 2] for place in range(len(name) - 1))]


@given(names=st.lists(st.text(alphabet="\x00大鹏a𠀀\ud800\U0010ffff", min_size=1, max_size=6), max_size=8))
def test_counts_are_those_of_plain_counting(names: list[str]) -> None:
    vocabulary, starts, places, counts = count_grams(names)
    assert vocabulary.tolist() == sorted({int(key) for name in names for key in gram_keys(name)})
    key_of = {gram: int(key) for name in names for gram, key in zip(grams(name), gram_keys(name), strict=True)}
    wanted = {
        (key_of[gram], place): times for place, name in enumerate(names) for gram, times in Counter(grams(name)).items()
    }
    found = {
        (key, int(places[at])): int(counts[at])
        for number, key in enumerate(vocabulary.tolist())
        for at in range(starts[number], starts[number + 1])
    }
    assert found == wanted
    assert all(places[start:end].tolist() == sorted(places[start:end].tolist()) for start, end in pairwise(starts))
