"""What written values mean, and which value of an axis a cell is matched to."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.space.meaning import Matcher, as_number, as_truth, is_blank, match, plain_value, same


@pytest.mark.parametrize(("own", "meant", "others"), [
    (8, [8, 8.0, "8", "8.0", " 8 ", "+8", "8e0"], [True, "eight", "", None, "8x", 9, math.nan]),
    (1, [1.0, "1", "1.0"], [True, "true"]),
    (True, [True, "true", "TRUE", "True "], [1, "1", "yes", None]),
    (False, [False, "false", "False"], [0, "0", "", None]),
    (math.inf, [math.inf, "inf", "Infinity", "+inf"], ["-inf", 1e308, "nan"]),
    ("None", [None, "", " ", "None", "null", "NULL", math.nan], ["0", 0, "no", "-"]),
    ("1.10", ["1.10", " 1.10"], ["1.1"]), ("1.1", ["1.1", 1.1], ["1.10"]), ("007", ["007", 7], ["7", "07"]),
    ("true", ["true", "True", True], [1, "1"]), ("inf", ["inf", "Infinity", math.inf], ["1"]),
    ("auto", ["auto"], ["Auto", None, 0]), ("", [None, "", " "], ["None", 0]),
])
def test_what_means_a_value(own: Any, meant: list[Any], others: list[Any]) -> None:
    for written in meant:
        assert same(own, written) and match([own], written) == own, written
    for written in others:
        assert not same(own, written) and match([own], written) is None, written


def test_the_same_spelling_comes_first() -> None:
    assert match([1.1, "1.10"], "1.10") == "1.10"
    assert match([1.1, "1.10"], "1.1") == 1.1
    assert match(["auto", 8, 16], "8.0") == 8
    assert match(["None", 3], None) == "None"


@pytest.mark.parametrize(("text", "value"), [
    ("8", 8), ("0.5", 0.5), ("1.10", "1.10"), ("007", "007"), ("1e5", "1e5"), ("-3", -3), ("+3", "+3"),
    ("inf", "inf"), ("true", True), ("False", False), ("auto", "auto"), ("1_0", "1_0"),
    ("99999999999999999999", "99999999999999999999"),
])
def test_plain_values(text: str, value: Any) -> None:
    found = plain_value(text)
    assert found == value and type(found) is type(value)


def test_what_is_no_number() -> None:
    for written in ("", "1,950.7", "0x10", "1_000", "nan", "½", "١", True, None, "1e"):
        assert math.isnan(as_number(written)), written
    assert as_number(10**400) == math.inf and as_number(" .5 ") == 0.5
    assert as_truth("yes") is None and as_truth(1) is None
    assert is_blank(math.nan) and is_blank("\t") and not is_blank(0) and not is_blank(False)


words = st.sampled_from(["8", "8.0", "1.10", "1.1", "true", "True", "None", "null", "", "inf", "Infinity", "auto",
                         "-inf"])
values = words | st.sampled_from([8, 8.0, 1.1, True, False, math.inf, 0, 1, 2**60])


@given(st.lists(values, unique_by=lambda value: (type(value), value)), values | st.none() | st.just(math.nan))
def test_the_fast_match_is_the_match(own: list[Any], written: Any) -> None:
    fast, slow = Matcher(own)(written), match(own, written)
    assert fast == slow and isinstance(fast, bool) == isinstance(slow, bool)


@given(st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_every_number_is_found_by_its_usual_spelling(number: float) -> None:
    assert same(number, str(number)) and match([number], str(number)) == number
