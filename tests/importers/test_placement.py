"""Tables of many kinds, placed in a study: what a cell means, what has no meaning, and which rows are readings."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

Call = Callable[..., Any]


@pytest.fixture
def place(tmp_path: Path, answer: Call) -> Callable[..., Any]:
    """Imports a table into a study of the given axes; returns the answer of `import --json`."""

    def imported(axes: dict[str, Any], text: str | bytes, *options: str, targets: Any = ("ttft_ms",),
                 name: str = "t.csv", **study: Any) -> Any:
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        file = tmp_path / "study.yaml"
        file.write_text(yaml.safe_dump({
            "study": {"name": "s", "storage": f"sqlite:///{tmp_path / 's.db'}"}, "space": {"axes": axes},
            "runner": {"kind": "command", "command": ["x"]}, "targets": list(targets), "stop": {"trials": 9}, **study}))
        return answer("import", file, tmp_path / name, *options)

    return imported


def points(trials: Call, tmp_path: Path) -> list[dict[str, Any]]:
    runs = trials(f"sqlite:///{tmp_path / 's.db'}", "s")
    return [run.user_attrs["measurement"]["readings"][0]["point"] for run in runs]


@pytest.mark.parametrize(("values", "cells", "meant"), [
    ([8, 16], ["8", "16.0"], [8, 16]), ([8.0, 0.5], ["8", ".5"], [8.0, 0.5]), (["8", "16"], ["8", "16"], ["8", "16"]),
    ([True, False], ["TRUE", "false"], [True, False]), (["true", "off"], ["True", "off"], ["true", "off"]),
    (["None", 3], ["None", "3.0"], ["None", 3]), (["null", 3], ["", "3"], ["null", 3]),
    (["auto", 8], ["auto", "8.0"], ["auto", 8]), (["1.10", "1.1"], ["1.1", "1.10"], ["1.1", "1.10"]),
    (["007", "7"], ["7", "007"], ["7", "007"]), (["1e5", "a9"], ["1e5", "a9"], ["1e5", "a9"]),
])
def test_a_listed_value_is_matched_by_what_it_means(
    place: Call, trials: Call, tmp_path: Path, values: list[Any], cells: list[str], meant: list[Any]
) -> None:
    text = "x,ttft_ms\n" + "".join(f"{cell},{10 + i}\n" for i, cell in enumerate(cells))
    assert place({"x": {"values": values, "scale": "category"}}, text)["runs"] == 2
    found = [point["x"] for point in points(trials, tmp_path)]
    assert found == meant and [type(value) for value in found] == [type(value) for value in meant]


@pytest.mark.parametrize(("values", "cell"), [
    ([1, 0], "true"), ([True, False], "1"), (["1.1"], "1.10"), (["7"], "007"), ([8], "8b"), ([8], "0x8"),
    (["FlashInfer"], "FLASHINFER"), ([1000], "1_000"), (["100000"], "1e5"), ([3], "")])
def test_what_is_meant_otherwise_is_not_on_the_axis(
    place: Call, sweepwise: Call, tmp_path: Path, values: list[Any], cell: str
) -> None:
    with pytest.raises(AssertionError):
        place({"x": {"values": values, "scale": "category"}}, f"x,ttft_ms\n{cell},1\n")
    ran = sweepwise("import", tmp_path / "study.yaml", tmp_path / "t.csv")
    assert ran.code == 2 and "x" in ran.err and "t.csv line 2" in ran.err


def test_an_infinite_rate_in_every_spelling(place: Call, trials: Call, tmp_path: Path) -> None:
    said = place({"request_rate": {"values": ["inf", 1]}}, "request_rate,ttft_ms\nInfinity,9\n1.0,3\ninf,11\n")
    assert (said["runs"], said["points"]) == (2, 2)
    assert {point["request_rate"] for point in points(trials, tmp_path)} == {math.inf, 1}


def test_a_blank_in_one_row_changes_no_other(place: Call) -> None:
    text = "eager,kind,ttft_ms\n,baseline,5\ntrue,optimize,6\nFALSE,optimize,7\n"
    said = place({"eager": {"values": [True, False]}}, text, "--where", "kind == 'optimize'")
    assert (said["runs"], said["points"]) == (2, 2)


@pytest.mark.parametrize("name", ["t.jsonl", "t.json", "t.parquet"])
def test_typed_cells(place: Call, trials: Call, tmp_path: Path, name: str) -> None:
    records = [{"seqs": 8, "eager": True, "ttft_ms": 5, "why": None}, {"seqs": 16.0, "eager": False, "ttft_ms": 6.5}]
    if name.endswith("parquet"):
        pd.DataFrame(records).to_parquet(tmp_path / name)
        text: str | bytes = (tmp_path / name).read_bytes()
    else:
        lines = [json.dumps(record) for record in records]
        text = "\n".join(lines) if name.endswith("l") else f"[{','.join(lines)}]"
    axes = {"seqs": {"values": [8, 16]}, "eager": {"values": [True, False]}}
    assert place(axes, text, name=name)["runs"] == 2
    assert points(trials, tmp_path) == [{"seqs": 8, "eager": True}, {"seqs": 16, "eager": False}]


def test_columns_without_a_meaning_are_left_alone_and_named(place: Call, trials: Call, tmp_path: Path) -> None:
    text = "x,ttft_ms,p99_ttft_ms,retries,score,odd,when\n1,5,9,0,3.5,inf,2026-01-01\n2,6,8,1,nan,-1e400,2026-01-02\n"
    said = place({"x": {"values": [1, 2]}}, text)
    (note,) = [note for note in said["notes"] if "left alone" in note]
    assert all(name in note for name in ("retries", "score", "odd", "when")) and "ttft" not in note
    runs = trials(f"sqlite:///{tmp_path / 's.db'}", "s")
    assert [set(run.user_attrs["measurement"]["readings"][0]["metrics"]) for run in runs] == [
        {"ttft_ms", "p99_ttft_ms"}] * 2


def test_rows_of_one_point_that_differ_are_named(place: Call) -> None:
    said = place({"x": {"values": [1, 2]}}, "x,gpu,seed,ttft_ms\n1,H100,1,5\n1,A100,2,9\n2,H100,3,6\n")
    assert said["runs"] == 2
    (note,) = [note for note in said["notes"] if "repeats" in note]
    assert "gpu" in note and "H100 and A100" in note and "seed" not in note


def test_map_computes_axes_and_metrics(place: Call, trials: Call, tmp_path: Path) -> None:
    text = "Tokens in K;ish,TTFT p50 [s],wall, min\n1,0.5,2,1\n2,0.7,3,1\n"
    said = place({"input_len": {"values": [1024, 2048]}}, text, "--map", "input_len=1024 * `Tokens in K;ish`",
                 "--map", "ttft_ms=TTFT p50 [s]", "--map", "seconds=wall * 60")
    assert said["cost_s"] == 300 and said["points"] == 2
    runs = trials(f"sqlite:///{tmp_path / 's.db'}", "s")
    assert [run.values for run in runs] == [[500.0], [700.0]]


@pytest.mark.parametrize(("column", "says"), [("TTFT (ticks)", "'ticks'"), ("TTFT (min)", "'min'"),
                                              ("TTFT (tok/s)", "tok/s")])
def test_a_unit_that_is_none_of_the_metrics_is_asked_about(
    place: Call, sweepwise: Call, tmp_path: Path, column: str, says: str
) -> None:
    with pytest.raises(AssertionError):
        place({"x": {"values": [1]}}, f"x,{column}\n1,5\n", "--map", f"ttft_ms={column}")
    ran = sweepwise("import", tmp_path / "study.yaml", tmp_path / "t.csv", "--map", f"ttft_ms={column}")
    assert ran.code == 2 and "--map ttft_ms" in ran.err and says in ran.err


def test_a_tables_own_counts_contradict_it(place: Call, sweepwise: Call, tmp_path: Path) -> None:
    axes, targets = {"x": {"values": [1, 2]}}, ["request_throughput"]
    head = "x,request_throughput,completed,duration\n"
    said = place(axes, f"{head}1,2.0,200,100\n2,3.0,400,100\n", targets=targets)
    (note,) = [note for note in said["notes"] if "400 requests" in note]
    assert "t.csv line 3" in note and said["runs"] == 2
    (tmp_path / "t.csv").write_text(f"{head}1,2.0,200,100\n2,4000,400,100\n")
    ran = sweepwise("import", tmp_path / "study.yaml", tmp_path / "t.csv")
    assert ran.code == 2 and "t.csv line 3: contradicts itself" in ran.err


def test_failures_are_what_ok_says(place: Call, trials: Call, tmp_path: Path) -> None:
    text = "x,ttft_ms,error,code\n1,5,,0\n2,,out of memory,137\n3,7,,0\n"
    axes = {"x": {"values": [1, 2, 3]}}
    said = place(axes, text, "--ok", "error == ''", "--map", "status=error")
    assert (said["runs"], said["failed"], said["points"]) == (3, 1, 2)
    reasons = [run.user_attrs["measurement"]["reason"] for run in trials(f"sqlite:///{tmp_path / 's.db'}", "s")]
    assert [reason for reason in reasons if reason] == ["out of memory"]


@pytest.mark.parametrize("ok", ["code == 0", "error == ''", "ttft_ms > 0", "fine", "fine == true", "not fine == false"])
def test_ok_takes_any_condition(place: Call, ok: str) -> None:
    text = "x,ttft_ms,error,code,fine\n1,5,,0,True\n2,,out of memory,137,False\n3,7,,0,True\n"
    said = place({"x": {"values": [1, 2, 3]}}, text, "--ok", ok)
    assert (said["runs"], said["failed"]) == (3, 1)
