from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelscope_plugin.checks import check_choice, check_integer, check_number
from modelscope_plugin.errors import InputError, InputTypeError


@given(st.integers())
def test_integers_come_back_as_they_are(value: int) -> None:
    assert check_integer("k", value) == value


@pytest.mark.parametrize("value", [np.int64(3), np.array(3)])
def test_numpy_integers_become_python_integers(value: object) -> None:
    assert type(check_integer("k", value)) is int


@pytest.mark.parametrize("value", [True, None, "3", 3.0, np.array([1, 2]), [1]])
def test_what_is_no_integer_is_named(value: object) -> None:
    with pytest.raises(InputTypeError, match=r"k=.* must be an integer of at least 1"):
        check_integer("k", value, least=1)


@given(st.integers(max_value=0) | st.integers(min_value=11))
def test_integers_out_of_range_are_refused(value: int) -> None:
    with pytest.raises(InputError, match=r"between 1 and 10"):
        check_integer("k", value, least=1, most=10)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_come_back_as_they_are(value: float) -> None:
    assert check_number("x", value) == value


@pytest.mark.parametrize("value", [False, None, "0.5", b"1", [0.5], {}])
def test_what_is_no_number_is_named(value: object) -> None:
    with pytest.raises(InputTypeError, match=r"x=.* must be a number"):
        check_number("x", value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -0.1, 1.1, 10**400])
def test_numbers_out_of_range_are_refused(value: float) -> None:
    with pytest.raises(InputError, match=r"finite number between 0 and 1"):
        check_number("x", value, least=0, most=1)


def test_a_bound_can_be_excluded() -> None:
    with pytest.raises(InputError, match="above 0"):
        check_number("x", 0, above=0)


@pytest.mark.parametrize("value", ["c", None, ["a"]])
def test_unknown_choices_are_listed(value: object) -> None:
    with pytest.raises(InputError, match="choose from a, b"):
        check_choice("method", value, ("a", "b"))
