"""studies/compare/boundary.py on a recorded server whose boundary is known by hand."""

from __future__ import annotations

import csv
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import yaml

from planner.campaign.setup import StudySetup, open_setup
from studies.compare.boundary import State, Truth, calibration_of, place_of, play, scored, table_of

LOADS = (1, 2, 4, 8, 16, 32)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """ttft is 10 ms × load × length / devices: at lengths 1, 2, 4 the bound of 100 ms is at 10, 5, 2.5 per device."""
    rows = [{"devices": d, "input_len": length, "max_concurrency": load, "ttft_ms": 10.0 * load * length / d}
            for d, length, load in itertools.product((1, 2), (1, 2, 4), LOADS)]
    with (tmp_path / "table.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump({
        "space": {"axes": {"devices": {"scope": "engine", "scale": "log", "role": "accelerators"},
                           "input_len": {"scale": "log"}, "max_concurrency": {"scale": "log"}}},
        "runner": {"kind": "replay", "table": "table.csv", "cost_s": 10, "accelerators": "devices"},
        "targets": ["ttft_ms"], "stop": {"boundary": "ttft_ms <= 100"}}))
    return path


def truth_of(path: Path) -> tuple[StudySetup, Truth]:
    setup = open_setup(path)
    assert setup.boundary is not None
    return setup, Truth(setup, setup.boundary)


def test_truth_is_where_the_recorded_values_cross(study: Path) -> None:
    _, truth = truth_of(study)
    for i, rows in enumerate(truth.lines):
        point = truth.grid.point(int(rows[0]))
        load = 10 * float(point["devices"]) / float(point["input_len"])
        assert truth.load(i, truth.place[0, i]) == pytest.approx(math.log2(load))
    assert truth.met.mean() == pytest.approx(np.mean([10 * load * n / d <= 100 for d, n, load in itertools.product(
        (1, 2), (1, 2, 4), LOADS)]))


def test_a_perfect_answer_has_no_error_and_one_a_step_off_has_one(study: Path) -> None:
    _, truth = truth_of(study)
    perfect = scored(truth, truth.place, truth.met, None)
    assert (perfect["error"], perfect["within"], perfect["wrong"]) == (0.0, 1.0, 0.0)
    off = scored(truth, truth.place + 1, truth.met, None)
    assert off["error"] == pytest.approx(1.0)
    assert scored(truth, truth.place, ~truth.met, None)["wrong"] == 1.0


def test_places_outside_the_grid() -> None:
    loads = np.array([1.0, 2.0, 4.0])
    assert place_of(None, "below the grid", loads) == -1 and place_of(None, "above the grid", loads) == 3
    assert place_of(2 * math.sqrt(2), "within", loads) == pytest.approx(1.5)


def test_strategies_are_played_to_their_own_ends(study: Path) -> None:
    states: list[State] = []
    for name in ("bisection", "aiperf_boundary", "sweepwise"):
        states += play(study, name, 0, [6], [0.2])
    ends = {state.strategy: state for state in states if state.at == "end"}
    assert ends["bisection"].wrong == ends["aiperf_boundary"].wrong == 0.0
    assert ends["bisection"].within == 1.0 and ends["bisection"].runs > ends["sweepwise"].runs / 2
    assert ends["sweepwise"].reason == "boundary" and ends["sweepwise"].wrong <= 0.06 and ends["sweepwise"].open == 0.0
    assert all(state.cost <= 0.2 * 36 * 10 * 1.5 for state in states if state.at == "20.0%")
    assert {state.runs for state in states if state.at == "6 runs"} == {6}
    table, calibration = table_of(states, 1000.0), calibration_of(states)
    assert table.row_count == 9 and calibration.row_count >= 2
