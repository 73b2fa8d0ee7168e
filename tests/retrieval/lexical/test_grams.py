from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from modelscope_plugin.retrieval.lexical.grams import GramPostings, gram_keys, is_pair


def grams(name: str) -> list[str]:
    return [*name, *(name[place : place + 2] for place in range(len(name) - 1))]


@given(names=st.lists(st.text(alphabet="\x00大鹏a𠀀\ud800\U0010ffff", min_size=1, max_size=6), max_size=8))
def test_postings_are_those_of_plain_search(names: list[str]) -> None:
    postings = GramPostings.build(names)
    starts, positions = postings.starts.tolist(), postings.positions.tolist()
    assert postings.vocabulary.tolist() == sorted({int(key) for name in names for key in gram_keys(name)})
    gram_of = {int(key): gram for name in names for gram, key in zip(grams(name), gram_keys(name), strict=True)}
    found = {
        gram_of[key]: positions[start:end]
        for key, (start, end) in zip(postings.vocabulary.tolist(), pairwise(starts), strict=True)
    }
    assert found == {
        gram: [place for place, name in enumerate(names) if gram in grams(name)] for gram in gram_of.values()
    }
    assert is_pair(postings.vocabulary).tolist() == [len(gram_of[key]) == 2 for key in postings.vocabulary.tolist()]
