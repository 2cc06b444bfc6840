"""What is claimed of the points left is judged by runs like them: no imported ones, and no device that is done."""

from __future__ import annotations

import numpy as np

from planner.ledger.observations import Observations, Run
from planner.models.calibration import Forecasts
from planner.models.grid_model import GridModel
from planner.models.judges import judged
from planner.space.grid import Grid, full_grid
from planner.space.types import Axis, Cost, Measurement, Reading, Scale, Scope, Status

GRID = full_grid([
    Axis("gpu", ("A100", "H100"), Scope.ENGINE, Scale.CATEGORY),
    Axis("batch_size", tuple(range(1, 41)), scale=Scale.LOG),
])


def observed(runs: list[tuple[int, bool]], grid: Grid = GRID) -> Observations:
    """Runs at (row, whether it was imported), in order."""
    observations = Observations(grid, ("latency_ms",))
    for number, (row, imported) in enumerate(runs):
        point = grid.point(row)
        value = 1.0 + float(point["batch_size"]) * (2 if point["gpu"] == "A100" else 1)
        reading = Reading(point, {"latency_ms": (value,)}, value)
        observations.add(Run(number, point, Measurement(Status.OK, Cost(measure_s=value), (reading,)),
                             imported=imported))
    return observations


def forecasts(runs: int) -> Forecasts:
    return Forecasts(np.full(runs, 0.1), np.full(runs, 0.1), np.ones(runs), np.arange(runs))


def judging(observations: Observations) -> list[int]:
    return judged(forecasts(len(observations.runs)), observations).runs.tolist()


def test_an_imported_run_judges_nothing_once_the_study_has_runs_of_its_own() -> None:
    imported = [(row, True) for row in range(0, 20, 2)]
    assert judging(observed(imported)) == list(range(10))
    assert judging(observed([*imported, (1, False), (41, False)])) == [10, 11]


def test_a_device_that_is_measured_throughout_judges_no_other() -> None:
    done = [(row, False) for row in range(40)]
    assert judging(observed([*done, (45, False), (60, False)])) == [40, 41]
    half = [(row, False) for row in range(20)]
    assert judging(observed([*half, (45, False), (60, False)])) == list(range(22))


def test_when_everything_is_measured_every_run_judges() -> None:
    assert len(judging(observed([(row, False) for row in range(80)]))) == 80


def test_a_model_is_judged_so() -> None:
    observations = observed([(row, False) for row in range(40)] + [(row, False) for row in range(41, 80, 6)])
    found = GridModel(GRID, None).fit(observations).forecasts_["latency_ms"]
    assert found.runs.min() >= 40 and len(found.runs) == 7
