from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelscope_plugin.data import Entity
from modelscope_plugin.data.names import names_of, normalized_name, shared_names


@pytest.mark.parametrize(
    ("name", "expected"), [("Da Peng", "dapeng"), ("ＩＢＭ", "ibm"), (" 大 鹏\n", "大鹏"), ("", "")]
)
def test_names_are_compared_without_width_case_and_space(name: str, expected: str) -> None:
    assert normalized_name(name) == expected


def test_names_of_an_entity_are_its_name_and_aliases() -> None:
    assert names_of(Entity("e", "大鹏", ("Da Peng", "DAPENG", " "))) == {"大鹏", "dapeng"}


def test_shared_names_are_those_of_several_entities() -> None:
    entities = [Entity("a", "苹果", ("Apple", "apple")), Entity("b", "苹果公司", ("苹 果",)), Entity("c", "香蕉")]
    assert shared_names(entities) == {"苹果"}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("臺灣大學", "台湾大学"),
        ("《三國演義》", "三国演义"),
        ("周·杰伦", "周杰伦"),
        ("AT&T", "ＡＴ＆Ｔ"),
        ("A-B", "a b"),
    ],
)
def test_names_are_compared_without_script_and_punctuation(one: str, other: str) -> None:
    assert normalized_name(one) == normalized_name(other)


@pytest.mark.parametrize(("one", "other"), [("C", "C#"), ("!!!", "???"), ("ATT", "AT&T")])
def test_names_that_only_signs_tell_apart_stay_apart(one: str, other: str) -> None:
    assert normalized_name(one) != normalized_name(other)


@given(st.text(max_size=8))
def test_normalising_again_changes_nothing(name: str) -> None:
    assert normalized_name(normalized_name(name)) == normalized_name(name)
