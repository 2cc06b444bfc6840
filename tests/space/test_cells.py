"""A column is judged cell by cell: one odd cell changes no other."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.space.cells import Cells


def numbers(*cells: Any) -> list[float | None]:
    return [None if math.isnan(number) else number for number in Cells.of(cells).numbers.tolist()]


@pytest.mark.parametrize(("cells", "read"), [
    (["20.1", "OOM", "23.9"], [20.1, None, 23.9]), (["1", "?", ""], [1, None, None]),
    (["985.2", "1,950.7", "3,811"], [985.2, 1950.7, 3811]), (["1,000,000", "5"], [1000000, 5]),
    (["1,024", "2"], [None, 2]),  # a decimal comma, or thousands?
    (["1,5", "2.5"], [None, 2.5]), (["1,024", 0.5], [1024, 0.5]), ([True, "true", 1], [None, None, 1]),
    (["inf", "-inf", "nan"], [math.inf, -math.inf, None]), ([8, 8.0, "8", None], [8, 8, 8, None]),
])
def test_numbers(cells: list[Any], read: list[float | None]) -> None:
    assert numbers(*cells) == read


def test_blanks_and_missing() -> None:
    cells = Cells.of(["", " ", None, math.nan, "n/a", "None", "-", "0", "x "])
    assert cells.raw == (None, None, None, None, "n/a", "None", "-", "0", "x")
    assert cells.blank.tolist() == [True] * 4 + [False] * 5
    assert cells.missing.tolist() == [True] * 7 + [False] * 2


@pytest.mark.parametrize(("cells", "is_numeric", "is_truth"), [
    (["1", "", "n/a"], True, False), (["1", "x"], False, False), (["", ""], False, False),
    (["true", "", "FALSE"], False, True), ([True, 1], False, False), (["true", "yes"], False, False),
])
def test_kinds(cells: list[Any], is_numeric: bool, is_truth: bool) -> None:
    assert (Cells.of(cells).is_numeric, Cells.of(cells).is_truth) == (is_numeric, is_truth)


def test_equality_rows_and_arrays() -> None:
    cells = Cells.of(["8.0", "auto", "", "True"])
    assert cells.equals(8).tolist() == [True, False, False, False]
    assert cells.equals("").tolist() == [False, False, True, False]
    assert cells.equals(True).tolist() == [False, False, False, True]
    assert cells[np.array([1, 0])].raw == ("auto", "8.0")
    assert np.asarray(cells)[0] == 8 and len(cells) == 4 and list(cells)[2] is None


@given(st.lists(st.sampled_from(["1", "2.5", "", "x", "true", "1e3"]), min_size=1), st.data())
def test_a_cell_means_the_same_beside_any_others(texts: list[str], data: st.DataObject) -> None:
    row = data.draw(st.integers(0, len(texts) - 1))
    whole, alone = Cells.of(texts), Cells.of(texts[row:row + 1])
    assert np.array_equal(whole.numbers[row:row + 1], alone.numbers, equal_nan=True)
    assert whole.truth[row] == alone.truth[0] and whole.blank[row] == alone.blank[0]
