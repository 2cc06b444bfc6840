"""`map`, units, `ok`, and values that cannot be, in a replayed table and in a truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from planner.space.types import Direction, Kind, Metric, StudyError, Transform
from planner.tables.load import RecordedTable, TableSettings, load_table, read_measured

UNITS = """Model,Batch Size,E2E Latency (ms),TTFT (ms),Throughput (tok/s)
q,1,1500.5,20.1,85.3
q,2,1530.1,25.0,167.0
"""
MAP = {"batch_size": "Batch Size", "ttft_ms": "TTFT (ms)", "e2el_s": "`E2E Latency (ms)` / 1000"}


def load(directory: Path, text: str, axes: Any, targets: Any, **keys: Any) -> RecordedTable:
    (directory / "t.csv").write_text(text)
    return load_table(TableSettings(**{"table": "t.csv", "cost_s": 1, **keys}), directory, dict.fromkeys(axes), targets)


def refusal(directory: Path, text: str, axes: Any, targets: Any, **keys: Any) -> str:
    with pytest.raises(StudyError) as caught:
        load(directory, text, axes, targets, **keys)
    return str(caught.value)


@pytest.mark.parametrize("cost", ["E2E Latency (ms)", "`E2E Latency (ms)`", "E2E Latency (ms) / 1000", "e2el_s"])
def test_names_and_seconds(tmp_path: Path, cost: str) -> None:
    table = load(tmp_path, UNITS, ["batch_size"], ["ttft_ms", "e2el_s"], map=MAP, cost_s=cost)
    assert table.points() == {"batch_size": [1, 2]}
    assert table.truth("ttft_ms").tolist() == [20.1, 25.0] and table.truth("e2el_s").tolist() == [1.5005, 1.5301]
    assert table.cost_s.tolist() == pytest.approx([1.5005, 1.5301])
    converted = ("runner.cost_s: E2E Latency (ms) is in ms, read as seconds ÷ 1000",)
    assert table.notes == (() if "1000" in cost or cost == "e2el_s" else converted)
    assert set(table.metrics) == {"ttft_ms", "e2el_s", "E2E Latency (ms)", "Throughput (tok/s)"}


def test_a_column_in_another_unit(tmp_path: Path) -> None:
    table = load(tmp_path, "b,TTFT (s),latency_us,Lat (ms)\n1,0.5,2e6,3\n", ["b"],
                 ["ttft_ms", "latency_ms", Metric("lat", "s")], map={"ttft_ms": "TTFT (s)", "latency_ms": "latency_us",
                                                                    "lat": "Lat (ms)"}, cost_s="lat")
    assert [table.truth(name).tolist() for name in ("ttft_ms", "latency_ms", "lat")] == [[500], [2000], [0.003]]
    assert table.cost_s.tolist() == [0.003]
    assert table.notes[0] == "runner.map.ttft_ms: TTFT (s) is in s, read as milliseconds × 1000"
    assert len(table.notes) == 3


def test_the_wrong_dimension_and_names_that_are_not_there(tmp_path: Path) -> None:
    assert "is in tok/s, and s is needed" in refusal(tmp_path, UNITS, ["batch_size"], ["ttft_ms"], map=MAP,
                                                     cost_s="Throughput (tok/s)")
    said = refusal(tmp_path, UNITS, ["batch_size"], ["ttft_ms"])
    assert said.startswith("space.axes.batch_size: ") and said.endswith("by `map: {batch_size: \"Batch Size\"}`")
    assert "runner.map.ttft_ms" in refusal(tmp_path, UNITS, ["Batch Size"], ["ttft_ms"], map={"ttft_ms": "TTFT"})
    assert "gives no number" in refusal(tmp_path, UNITS, ["Batch Size"], ["x"], map={"x": "'abc'"})
    with pytest.raises(StudyError, match=r"by --map ttft_ms=\"TTFT \(ms\)\"$"):
        read_measured(tmp_path / "t.csv", {"Model": None}, ["ttft_ms"])


def test_ok_and_where_know_the_mapped_names(tmp_path: Path) -> None:
    table = load(tmp_path, UNITS, ["batch_size"], ["ttft_ms"], map=MAP, ok="ttft_ms < 22", where="batch_size < 9")
    assert table.failed.tolist() == [False, True] and table.status[1] == "ttft_ms is '25.0'"


@pytest.mark.parametrize(("keys", "mend"), [
    ({}, "ok: \"y != 'OOM'\""), ({"ok": "s == 'A'"}, "ok: \"s == 'A' and y != 'OOM'\""),
    ({"ok": "s == 'A' or s == 'B'"}, "ok: \"(s == 'A' or s == 'B') and y != 'OOM'\"")])
def test_a_cell_without_a_number_is_named_with_its_mend(tmp_path: Path, keys: Any, mend: str) -> None:
    text = "a,y,z,s\n1,20.1,x,A\n2,OOM,5,A\n"
    said = refusal(tmp_path, text, ["a"], ["y"], **keys)
    assert said.startswith("targets: t.csv line 3 is ok but has no number in column 'y' ('OOM')")
    assert said.endswith(mend)
    table = load(tmp_path, text, ["a"], ["y"], ok=mend.removeprefix('ok: "').removesuffix('"'))
    assert table.failed.tolist() == [False, True]
    with pytest.raises(StudyError, match=r"line 3 is ok but has no number .*--ok \"y != 'OOM'\"$"):
        read_measured(tmp_path / "t.csv", {"a": None}, ["y"])
    measured = read_measured(tmp_path / "t.csv", {"a": None}, ["y"], ok="y != 'OOM'")
    assert measured.failed.tolist() == [False, True]


def test_other_columns_may_have_cells_without_numbers(tmp_path: Path) -> None:
    table = load(tmp_path, "a,y,z,n\n1,20.1,x,x\n2,21,\"1,005.5\",y\n", ["a"], ["y"])
    assert np.array_equal(table.metrics["z"], [np.nan, 1005.5], equal_nan=True) and "n" not in table.metrics


@pytest.mark.parametrize(("column", "value"), [("ttft_ms", "0"), ("tpot_ms", "-1"), ("p99_itl_ms", "-0.0"),
                                               ("output_throughput", "-1"), ("e2el_s", "-3")])
def test_times_and_rates_that_cannot_be(tmp_path: Path, column: str, value: str) -> None:
    text = f"a,{column},y\n2,1.9,1\n4,{value},1\n"
    said = refusal(tmp_path, text, ["a"], [column])
    assert said.startswith(f"targets: t.csv line 3: {column} is ") and f"\"{column} > 0\"" in said
    assert load(tmp_path, text, ["a"], [column], ok=f"{column} > 0").failed.tolist() == [False, True]
    table = load(tmp_path, text, ["a"], ["y"])  # not used: left out, and said
    assert np.isnan(table.metrics[column]).tolist() == [False, True]
    assert f"{column} is" in table.notes[0] and "t.csv line 3" in table.notes[0]


def test_values_that_can_be(tmp_path: Path) -> None:
    assert load(tmp_path, "a,std_ttft_ms\n1,0\n", ["a"], ["std_ttft_ms"]).truth("std_ttft_ms").tolist() == [0]
    drift = Metric("drift", "", Direction.MINIMIZE, Kind.OTHER, Transform.LINEAR)
    assert load(tmp_path, "a,drift\n1,-2\n", ["a"], [drift]).truth("drift").tolist() == [-2]
    one = load(tmp_path, "out,tpot_ms\n1,0\n8,2\n", ["out"], ["tpot_ms"])  # one token has no time between tokens
    assert np.isnan(one.truth("tpot_ms")).tolist() == [True, False] and not one.failed.any()


@pytest.mark.parametrize(("values", "line"), [
    (["0.0407", "0.0419", "1e+20", "0.0318", "0.0411"], 4), (["0.04", "1e20"], 3), (["3e-12", "5", "6", "7"], 2)])
def test_a_number_that_is_a_word(tmp_path: Path, values: list[str], line: int) -> None:
    text = "a,time_ms\n" + "".join(f"{i},{value}\n" for i, value in enumerate(values))
    note, = load(tmp_path, text, ["a"], ["time_ms"], cost_s="time_ms / 1000 * 7").notes
    assert note.startswith(f"time_ms is {float(values[line - 2]):g} in t.csv line {line}, the others are about ")
    assert "a word for \"failed\"?" in note
    note, = load(tmp_path, text.replace("time_ms", "c") .replace("\n", ",1\n").replace("c,1", "c,y"), ["a"], ["y"],
                 cost_s="c").notes
    assert note.startswith("runner.cost_s is ")


def test_a_column_that_looks_like_a_status(tmp_path: Path) -> None:
    text = "a,y,state\n1,2,COMPLETE\n2,3,FAIL\n"
    note, = load(tmp_path, text, ["a"], ["y"]).notes
    assert note.startswith("t.csv: the column 'state' says 'COMPLETE', 'FAIL' and is not used")
    assert "ok: \"state == 'COMPLETE'\"" in note
    for keys in ({"where": "state == 'COMPLETE'"}, {"ok": "state == 'COMPLETE'"}, {"where": "a == 1"}):
        assert load(tmp_path, text, ["a"], ["y"], **keys).notes == ()


def test_a_word_for_success_beside_ok(tmp_path: Path) -> None:
    note, = load(tmp_path, "a,y,s\n1,2,OK\n2,3,success\n3,,oom\n", ["a"], ["y"], status="s").notes
    assert note == "t.csv: rows that say 'success' count as failed (1); if they succeeded, say which are ok by `ok`"


def test_a_truth_that_lacks_a_target_is_noted(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,y\n1,2\n2,\n")
    table = read_measured(tmp_path / "t.csv", {"a": None}, ["y"])
    assert "y is missing in a row that is ok, " in table.notes[0] and table.notes[0].endswith("line 3")
