"""The savings, computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from planner.evaluation.gains import gains
from planner.ledger.observations import Observations, Run
from planner.models.cost import CostModel
from planner.space.grid import full_grid
from planner.space.types import Axis, Cost, Measurement, Reading, Scale, Status
from planner.tables.recorded_grid import Sweep


def _run(number: int, batch: int, status: Status, cost: Cost, planner_s: float = 0.0) -> Run:
    point = {"batch_size": batch}
    readings = (Reading(point, {"e2el_ms": (1.0,)}, 5.0),) if status is Status.OK else ()
    return Run(number, point, Measurement(status, cost, readings), planner_s)


def test_every_overhead_counts() -> None:
    grid = full_grid([Axis("batch_size", (1, 2, 4, 8), scale=Scale.LOG)])
    observations = Observations(grid, ("e2el_ms",))
    observations.add(_run(0, 1, Status.OK, Cost(10, 1, 4, accelerators=2), planner_s=0.5))
    observations.add(_run(1, 8, Status.FAILED, Cost(0, 0, 3, accelerators=4)))
    observations.add(_run(2, 4, Status.INTERRUPTED, Cost(0, 0, 2, accelerators=1)))
    result = gains(observations, Sweep((410.0, 400.0, 430.0), (1040.0, 1000.0, 1100.0)), None)
    seconds = (10 + 1 + 4 + 0.5) + 3 + 2
    cost = (15 + 0.5) * 2 + 3 * 4 + 2
    assert result.experiments == pytest.approx(4 / 2)  # an interrupted run is no run
    assert result.time.value == pytest.approx(410 / seconds)
    assert result.resource.value == pytest.approx(1040 / cost)
    assert result.resource.low == pytest.approx(1000 / cost)
    assert result.estimated


def test_plain_sweep_is_exact_once_everything_is_known() -> None:
    axes = [Axis("tensor_parallel_size", (1, 2), scale=Scale.LOG), Axis("batch_size", (1, 2), scale=Scale.LOG)]
    grid = full_grid(axes)
    observations = Observations(grid, ("e2el_ms",))
    for number in range(4):
        point = grid.point(number)
        reading = Reading(point, {"e2el_ms": (1.0,)}, float(number + 1))
        cost = Cost(7.0 if number == 0 else 0.0, 0, number + 1, float(point["tensor_parallel_size"]))
        observations.add(Run(number, point, Measurement(Status.OK, cost, (reading,))))
    sweep = CostModel(grid, grid.column("tensor_parallel_size")).fit(observations).sweep()
    # No axis is of scope engine: one start of 7 s, on the first point's single device.
    assert sweep.seconds == pytest.approx((1 + 2 + 3 + 4 + 7,) * 3)
    assert sweep.cost == pytest.approx((1 * 1 + 2 * 1 + 3 * 2 + 4 * 2 + 7,) * 3)


def test_what_fails_far_beyond_what_failed_may_take_as_long_as_a_run() -> None:
    """Every run takes 2^row seconds, those that fail as well; the failures seen are the cheapest ones. A gain of 7.0,
    [6.8, 7.1], was stated where it was 32."""
    grid = full_grid([Axis("batch_size", tuple(2**i for i in range(14)), scale=Scale.LOG)])
    observations = Observations(grid, ("e2el_ms",))
    for number, row in enumerate((0, 1, 2, 3, 4, 5, 6)):
        point, ok = grid.point(row), row < 5
        readings = (Reading(point, {"e2el_ms": (1.0,)}, float(2**row)),) if ok else ()
        status = Status.OK if ok else Status.FAILED
        observations.add(Run(number, point, Measurement(status, Cost(measure_s=2.0**row), readings)))
    found = CostModel(grid, np.ones(len(grid))).fit(observations).sweep(feasibility=np.where(np.arange(14) < 5, 1.0,
        0.0))
    truth = 2.0**14 - 1
    assert found.seconds[1] <= found.seconds[0] < truth <= found.seconds[2]


def test_slow_failures_do_not_make_the_runs_that_go_through_look_slow() -> None:
    """Runs take up to a second, failures a time-out of 60 s. Learned together, what had not run yet was priced as if it
    would fail slowly."""
    grid = full_grid([Axis("batch_size", tuple(range(1, 61)), scale=Scale.LOG)])
    observations, able = Observations(grid, ("e2el_ms",)), np.arange(60) < 40
    seconds = np.where(able, np.arange(1, 61) / 40, 60.0)
    for number, row in enumerate((0, 4, 9, 14, 24, 34, 44, 52, 59)):
        point, ok = grid.point(row), bool(able[row])
        readings = (Reading(point, {"e2el_ms": (1.0,)}, float(seconds[row])),) if ok else ()
        cost = Cost(measure_s=float(seconds[row]))
        observations.add(Run(number, point, Measurement(Status.OK if ok else Status.FAILED, cost, readings)))
    found = CostModel(grid, np.ones(len(grid))).fit(observations).sweep(feasibility=able.astype(float))
    assert found.seconds[0] == pytest.approx(float(seconds.sum()), rel=0.05)
    assert found.seconds[1] <= seconds.sum() <= found.seconds[2] < 1.5 * seconds.sum()


def test_what_will_fail_is_priced_as_what_failed() -> None:
    """Large batches fail within a second, where a run that went through would have taken minutes."""
    grid = full_grid([Axis("batch_size", tuple(2**i for i in range(12)), scale=Scale.LOG)])
    observations = Observations(grid, ("e2el_ms",))
    for number, row in enumerate((0, 2, 4, 6, 10)):
        point = grid.point(row)
        ok = row < 8
        readings = (Reading(point, {"e2el_ms": (1.0,)}, float(2**row)),) if ok else ()
        status = Status.OK if ok else Status.FAILED
        observations.add(Run(number, point, Measurement(status, Cost(measure_s=2.0**row if ok else 1.0), readings)))
    cost = CostModel(grid, np.ones(len(grid))).fit(observations)
    certain = np.where(np.arange(12) < 8, 1.0, 0.0)
    careless, careful = cost.sweep(), cost.sweep(feasibility=certain)
    # Rows 0 to 7 take 1 to 128 s, as the successful runs show; 8 to 11 fail, as one of them has.
    assert careful.seconds[0] == pytest.approx(2**8 - 1 + 4 * 1.0, rel=0.02)
    half = cost.sweep(feasibility=np.where(np.arange(12) < 8, 1.0, 0.5)).seconds[0]
    assert min(careless.seconds[0], careful.seconds[0]) < half < max(careless.seconds[0], careful.seconds[0])
    assert careful.seconds[1] <= careful.seconds[0] <= careful.seconds[2]
