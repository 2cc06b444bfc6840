"""Numbers that an evaluation report calls measured are measured: recomputed from the table by hand."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import pytest


def test_against_its_own_table_every_gain_is_measured(recorded: Callable[..., Any], sweepwise: Callable[..., Any],
                                                      answer: Callable[..., Any]) -> None:
    """The gain over the longest runs alone was a prediction that stood under "estimated": false."""
    given = recorded(outputs=(16, 64, 256), batches=(1, 4, 16, 64), repeats=2, stop={"trials": 10},
                     runner={"repeats": 2, "trajectory": "output_len", "repeat": "repeat"})
    assert sweepwise("run", given.study, "--quiet").code == 0
    found = answer("evaluate", given.study, "--truth", given.table)["gains"]
    spent = answer("status", given.study)["cost_s"]
    axes = ("model", "input_len", "output_len", "batch_size")
    start, overhead, repeats = 2.0, 0.05, 2
    runs = {key: (repeats * statistics.median(row["cost_s"] for row in rows) + overhead) * rows[0]["n_gpus"]
            for key, rows in given.points(*axes).items()}
    starts = sum(start * devices for devices in
                 {row["model"]: row["n_gpus"] for row in given.rows}.values())
    longest = {}
    for key in sorted(runs, key=lambda key: key[2]):
        longest[key[0], key[1], key[3]] = runs[key]
    assert found["estimated"] is False
    assert found["resource"]["value"] == pytest.approx((sum(runs.values()) + starts) / spent)
    assert found["longest"]["value"] == pytest.approx((sum(longest.values()) + starts) / spent)
    assert found["longest"]["low"] == found["longest"]["high"] == found["longest"]["value"]


def test_points_that_could_not_run_are_told(recorded: Callable[..., Any], sweepwise: Callable[..., Any],
                                            answer: Callable[..., Any]) -> None:
    """An audit of 30 that scored 23 did not report the other 7."""
    given = recorded(outputs=(16, 64), repeats=1, stop={"trials": 12})
    given.write([{**row, "status": "oom", "latency_s": ""} if row["batch_size"] >= 24 else row for row in given.rows])
    assert sweepwise("run", given.study, "--quiet").code == 0
    observations = answer("status", given.study)
    shown = sweepwise("evaluate", given.study, "--truth", given.table)
    found = answer("evaluate", given.study, "--truth", given.table)
    failing = len({tuple(row[a] for a in ("model", "input_len", "output_len", "batch_size")) for row in given.rows
                   if row["batch_size"] >= 24})
    assert found["failed"] == failing - observations["failed"] > 0
    scored = found["targets"]["latency_s"]["points"] + found["failed"]
    assert scored == observations["grid_points"] - observations["runs"]
    assert f"{found['failed']} more could not run" in shown.out
