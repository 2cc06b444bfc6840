"""Expressions over the columns of a file: compared cell by cell, by what is meant, under names with blanks."""

from __future__ import annotations

import math

import numpy as np
import pytest

from planner.space.cells import Cells
from planner.space.expressions import parse
from planner.space.types import StudyError

CELLS = {"state": Cells.of(["COMPLETE", "FAIL", None]), "valid": Cells.of(["True", "false", ""]),
         "TTFT (ms)": Cells.of(["20", "OOM", "30"]), "v": Cells.of(["1.10", "1.1", 1.1]),
         "n": Cells.of(["8", "8.0", "x"]), "E2E Latency (ms)": Cells.of(["1500", "1600", ""])}


@pytest.mark.parametrize(("text", "expected"), [
    ("state == 'COMPLETE'", [True, False, False]), ("state != 'COMPLETE'", [False, True, True]),
    ("state == ''", [False, False, True]), ("valid == true", [True, False, False]),
    ("valid == True", [True, False, False]), ("n != 8", [False, False, True]),
    ("not valid", [False, True, True]), ("valid and n == 8", [True, False, False]), ("n == '8'", [True, False, False]),
    ("`TTFT (ms)` > 25", [False, False, True]), ("`TTFT (ms)` != 'OOM'", [True, False, True]),
    ("TTFT (ms) > 25", [False, False, True]), ("v == '1.10'", [True, False, True]), ("v == 1.1", [True, True, True]),
    ("n == 8", [True, True, False]), ("state == state", [True, True, True]), ("8 <= n < 9", [True, True, False]),
    ("`TTFT (ms)` * 2 == 60", [False, False, True]),
])
def test_columns_of_files_are_compared_by_meaning(text: str, expected: list[bool]) -> None:
    assert parse(text, CELLS, "key")(CELLS).tolist() == expected


def test_names_with_blanks() -> None:
    for text in ("`E2E Latency (ms)` / 1000", "E2E Latency (ms) / 1000"):
        expression = parse(text, CELLS, "key")
        assert expression.names == {"E2E Latency (ms)"}
        assert np.array_equal(expression(CELLS), [1.5, 1.6, math.nan], equal_nan=True)
    assert parse("-`TTFT (ms)`", CELLS, "key")(CELLS)[0] == -20
    with pytest.raises(StudyError, match="did you mean 'TTFT"):
        parse("`TTFT (m)` > 3", CELLS, "key")
    with pytest.raises(StudyError, match="does not fit the values"):
        parse("state > 3", CELLS, "key")(CELLS)


def test_a_column_called_true_is_a_column() -> None:
    assert parse("true == 1", ["true"], "key")({"true": np.array([1.0, 2.0])}).tolist() == [True, False]
