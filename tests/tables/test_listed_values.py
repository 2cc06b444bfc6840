"""Which rows belong to an axis' values, whatever stands in other rows, and what is said of those that do not."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from planner.space.types import StudyError
from planner.tables.axis_cells import AxisKind
from planner.tables.load import RecordedTable, TableSettings, load_table


def load(directory: Path, cells: list[str], values: Any = None, *, category: bool = False, rate: bool = False,
         **keys: Any) -> RecordedTable:
    """A table of one axis 'a'; the second column counts the rows from 1."""
    text = "a,y\n" + "".join(f'"{cell}",{i}\n' for i, cell in enumerate(cells, start=1))
    (directory / "t.csv").write_text(text)
    return load_table(TableSettings(table="t.csv", cost_s=1, **keys), directory, {"a": values}, ["y"],
                      kinds={"a": AxisKind(category, rate)})


def shown(values: Any) -> list[tuple[type, Any]]:
    return [(type(value), value) for value in values]


@pytest.mark.parametrize(("cells", "category", "values"), [
    (["1", "2.0", "4"], False, [1, 2, 4]), (["0.5", "2"], False, [0.5, 2.0]), (["8", "8.0"], False, [8]),
    (["true", "False", "TRUE"], False, [False, True]), (["auto", "8", "8.0"], False, ["auto", "8", "8.0"]),
    (["None", "3", "null"], False, ["None", "3"]), (["true", "auto", "TRUE"], False, ["true", "auto"]),
    (["8", "16"], True, [8, 16]), (["1.1", "1.10"], True, [1.1, "1.10"]), (["007", "7"], True, ["007", 7]),
    (["1e5", "abc"], True, ["1e5", "abc"]), (["NA", "b"], False, ["NA", "b"]), (["0.5", "x"], True, [0.5, "x"]),
    (["16", "8"], True, [8, 16]), (["inf", "x"], True, ["inf", "x"]),
])
def test_values_that_are_found(tmp_path: Path, cells: list[str], category: bool, values: list[Any]) -> None:
    table = load(tmp_path, cells, category=category)
    assert shown(table.axis_values("a")) == shown(values) and table.notes == ()


@pytest.mark.parametrize(("category", "values"), [(False, None), (True, None), (False, [math.inf, 1, 10])])
def test_an_infinite_rate(tmp_path: Path, category: bool, values: Any) -> None:
    table = load(tmp_path, ["inf", "1.0", "10.0"], values, category=category, rate=True)
    assert set(table.axis_values("a")) == {1, 10, math.inf} and len(table) == 3 and table.notes == ()


@pytest.mark.parametrize(("cells", "values", "found"), [
    (["auto", "8.0", "16.0"], ["auto", 8, 16], ["auto", 8, 16]), (["3", "None", "null", ""], ["None", 3], [3, "None"]),
    (["true", "True", "FALSE"], [True, False], [False, True]), (["true", "off"], ["true", "off"], ["true", "off"]),
    (["8", "16"], ["8", "16"], ["8", "16"]), (["1,024.0", "2"], [2, 1024], [2, 1024]),
    (["1.10", "1.1"], ["1.1", "1.10"], ["1.10", "1.1"]),
])
def test_listed_values_find_their_rows(tmp_path: Path, cells: list[str], values: Any, found: list[Any]) -> None:
    table = load(tmp_path, cells, values)
    assert shown(table.axis_values("a")) == shown(found)
    assert len(table.point) == len(cells) and table.notes == ()


@pytest.mark.parametrize(("cells", "values", "note"), [
    (["8", "16"], [8, 32], "no row has 32; 1 row of t.csv is left out: 16 is not listed"),
    (["8", "", "8"], [8], "1 row of t.csv is left out: blank (line 3)"),
    (["8", "", ""], [8], "2 rows of t.csv are left out: blank (line 3 and others)"),
    (["8", "64", "128", "64"], [8], "3 rows of t.csv are left out: 64, 128 are not listed"),
    (["true", "maybe"], [True], "1 row of t.csv is left out: maybe is not listed"),
])
def test_what_does_not_match_is_said(tmp_path: Path, cells: list[str], values: Any, note: str) -> None:
    assert load(tmp_path, cells, values).notes == (f"space.axes.a: {note}",)


def test_a_range_is_not_a_list(tmp_path: Path) -> None:
    assert load(tmp_path, ["1", "4", "256"], list(range(1, 257))).notes == ()


def test_two_spellings_of_one_listed_number(tmp_path: Path) -> None:
    note, = load(tmp_path, ["1.1", "1.10", "2"], [1.1, 2], category=True).notes
    assert note == "space.axes.a: 1.1 and 1.10 are read as one value, 1.1; if they differ, quote them in `values`"
    assert load(tmp_path, ["1.1", "1.10", "2"], ["1.1", "1.10", 2], category=True).notes == ()
    assert load(tmp_path, ["8", "8.0"], [8]).notes == ()  # numbers do not differ


def test_rows_that_are_not_in_use_settle_nothing(tmp_path: Path) -> None:
    assert shown(load(tmp_path, ["", "x", "8", "16"], where="y > 2").axis_values("a")) == shown([8, 16])
    assert shown(load(tmp_path, ["", "true", "false"], where="y > 1").axis_values("a")) == shown([False, True])
    assert shown(load(tmp_path, ["0.5", "1.0", "2.0"], where="y > 1").axis_values("a")) == shown([1.0, 2.0])
    with pytest.raises(StudyError, match=r"^space.axes.a: t.csv line 3 has no value for 'a'; correct the row or leave"):
        load(tmp_path, ["8", ""])
    with pytest.raises(StudyError, match=r"^space.axes.a: no row of t.csv has any .*; use some of: true, false$"):
        load(tmp_path, ["true", "false"], ["on"])


@pytest.mark.parametrize("ending", ["json", "jsonl", "parquet"])
def test_typed_cells(tmp_path: Path, ending: str) -> None:
    records = [{"a": 8, "b": True, "c": "auto", "y": 1.5}, {"a": 16, "b": False, "c": "8", "y": 2.5}]
    path = tmp_path / f"t.{ending}"
    if ending == "parquet":
        pytest.importorskip("pandas").DataFrame(records).to_parquet(path)
    else:
        path.write_text(json.dumps(records) if ending == "json" else "\n".join(map(json.dumps, records)))
    axes: dict[str, Any] = {"a": [8, 16, 32], "b": [True, False], "c": ["auto", 8]}
    table = load_table(TableSettings(table=path.name, cost_s="y", where="b == true or a == 16"), tmp_path, axes, ["y"])
    assert table.points() == {"a": [8, 16], "b": [True, False], "c": ["auto", 8]}
    assert table.notes == ("space.axes.a: no row has 32",)
    free = load_table(TableSettings(table=path.name, cost_s="y"), tmp_path, dict.fromkeys("abc"), ["y"])
    assert shown(free.axis_values("a")) == shown([8, 16]) and shown(free.axis_values("b")) == shown([False, True])


def test_json_cells_of_several_types(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"a": 8, "y": 1}\n{"a": 8.0, "y": 2}\n{"a": "8", "y": 3}\n'
                                      '{"a": "auto", "y": 4}\n')
    table = load_table(TableSettings(table="t.jsonl", cost_s=1), tmp_path, {"a": None}, ["y"])
    assert shown(table.axis_values("a")) == shown([8, "auto"])


words = st.sampled_from(["8", "8.0", "16", "1.1", "1.10", "true", "True", "None", "null", "auto", "inf", "007"])


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(words, min_size=1, max_size=8), st.booleans(), st.booleans())
def test_what_is_found_can_be_listed(tmp_path: Path, cells: list[str], category: bool, rate: bool) -> None:
    """Values that a first reading finds, listed in a second one, find the same points: a study does so."""
    first = load(tmp_path, cells, category=category, rate=rate)
    again = load(tmp_path, cells, list(first.axis_values("a")), category=category, rate=rate)
    assert shown(again.points()["a"]) == shown(first.points()["a"])
    assert again.point.tolist() == first.point.tolist()
