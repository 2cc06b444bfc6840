"""Simulations on a machine that changes are scored against the machine as it is when the scored state is reached."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from planner.campaign.setup import open_setup
from planner.simulation.simulate import Replay, simulate_one
from planner.space.types import StudyError

TWICE_AS_SLOW = {"kind": "ramp", "size": 1.0, "over_s": 1e-6}
"""After the first run."""


def simulated(grid: Any, name: str, shares: list[float], stop: float = 0.95) -> list[dict[str, Any]]:
    study = open_setup(grid.study)
    return simulate_one(Replay(study.recorded(), study.metrics), name, 0, shares, stop)


@pytest.mark.parametrize(("target", "error"), [("latency_s", 0.5), ("throughput", 1.0)])
def test_the_truth_is_that_of_the_machine_at_the_end(recorded: Callable[..., Any], target: str, error: float) -> None:
    """Measured all over, the first run alone was made on the machine as it was: its latency is half of the truth, its
    rate twice the truth. Both repeats are read, so every other point has just the changed truth."""
    grid = recorded(models=("small",), inputs=(128,), targets=(target,),
                    runner={"repeats": 2, "machine": {"drift": TWICE_AS_SLOW}})
    points = len(grid.points("model", "input_len", "output_len", "batch_size"))
    assert all(row["status"] == "ok" for row in grid.rows)
    ((early, late),) = [run["at"] for run in simulated(grid, "full", [1.0, 2.0])]
    assert late["measured"] == points and late["accuracy_all"] == pytest.approx(1 - error / points, rel=1e-12)
    assert 0.4 * points < early["measured"] < 0.6 * points, "runs cost twice as much too"
    assert late["cost_actual"] == pytest.approx(2, rel=0.1)


def test_the_point_of_the_stop_is_scored_alike(recorded: Callable[..., Any]) -> None:
    """A slow change: the end of the run is not the stop. What is scored at the stop's cost is scored at the stop."""
    slow = {"drift": {"kind": "ramp", "size": 3.0, "over_s": 50.0}}
    grid = recorded(models=("small",), inputs=(128,), runner={"machine": slow})
    (first,) = simulated(grid, "random", [4.0], stop=0.0)
    (again,) = simulated(grid, "random", [first["stop"]["cost_fraction"], 4.0], stop=0.0)
    assert first["stop"]["accuracy"] is not None
    at, end = again["at"]
    for key in ("measured", "accuracy", "accuracy_all"):
        assert at[key] == pytest.approx(first["stop"][key], abs=1e-3), "but for where a search began"
    assert end["accuracy_all"] < at["accuracy_all"] - 0.1, "measured while the machine was still fast"


def test_the_form_stays(recorded: Callable[..., Any]) -> None:
    faults = {"noise": 0.1, "outliers": {"share": 0.1, "factor": 10.0}, "hang": 0.1, "hang_s": 1.0, "crash": 0.1,
              "drift": {"kind": "walk", "size": 0.3, "over_s": 10.0}}
    plain = recorded(models=("small",), inputs=(128,))
    (before,) = simulated(plain, "powers_of_two", [0.5], stop=0.0)
    plain.edit(runner={"machine": {}})
    assert {**simulated(plain, "powers_of_two", [0.5], stop=0.0)[0], "planner_s": 0} == {**before, "planner_s": 0}
    plain.edit(runner={"machine": faults})
    (after,) = simulated(plain, "powers_of_two", [0.5], stop=0.0)
    assert set(after) == set(before) and set(after["at"][0]) == set(before["at"][0])
    assert after["at"][0]["cost_actual"] != before["at"][0]["cost_actual"]


def test_a_wrong_machine_is_refused_with_the_study_file(recorded: Callable[..., Any]) -> None:
    grid = recorded(runner={"machine": {"hang": 0.1}})
    with pytest.raises(StudyError, match=r"runner\.machine: a run that hangs costs seconds; add hang_s$"):
        open_setup(grid.study)
