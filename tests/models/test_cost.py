"""The cost model by hand: what is known is exact, what is predicted lies where it must, and prices add up."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from planner.ledger.observations import Observations, Run
from planner.models import settings
from planner.models.cost import CostModel
from planner.space.grid import Grid, full_grid
from planner.space.types import Axis, Cost, FloatArray, Measurement, Reading, Role, Scale, Scope, Status


def _grid(batches: tuple[int, ...] = (1, 2, 4, 8)) -> Grid:
    return full_grid([Axis("tensor_parallel_size", (1, 2), Scope.ENGINE, Scale.LOG, (Role.ACCELERATORS,)),
                      Axis("batch_size", batches, scale=Scale.LOG, roles=(Role.BATCH,))])


def _fitted(grid: Grid, seconds: Mapping[int, float], failed: Mapping[int, float] | None = None,
            starts: Mapping[int, float] | None = None, planner_s: float = 0.0) -> CostModel:
    """A cost model after runs at some rows. starts: seconds of an engine start before the run at a row."""
    observations, failed, starts = Observations(grid, ("e2el_ms",)), failed or {}, starts or {}
    for number, row in enumerate(sorted({*seconds, *failed})):
        point, ok = grid.point(row), row in seconds
        took = seconds[row] if ok else failed[row]
        readings = (Reading(point, {"e2el_ms": (1.0,)}, took),) if ok else ()
        cost = Cost(starts.get(row, 0.0), 0.0, took, float(point["tensor_parallel_size"]))
        observations.add(Run(number, point, Measurement(Status.OK if ok else Status.FAILED, cost, readings), planner_s))
    return CostModel(grid, _devices(grid)).fit(observations)


def _devices(grid: Grid) -> FloatArray:
    return np.asarray(grid.column("tensor_parallel_size"), dtype=float)


def test_nothing_is_known_before_the_first_run() -> None:
    grid = _grid()
    model = CostModel(grid, _devices(grid)).fit(Observations(grid, ("e2el_ms",)))
    np.testing.assert_array_equal(model.seconds(), 1.0)
    np.testing.assert_array_equal(model.price(np.arange(8)), _devices(grid))  # equal seconds: devices alone differ
    np.testing.assert_array_equal(model.start_seconds(), 0.0)
    assert not model.learned_ and np.isnan([*model.sweep().seconds, *model.sweep().cost]).all()


def test_a_price_is_seconds_and_planning_times_devices() -> None:
    grid, took = _grid(), {row: 3.0 + row for row in range(8)}
    model = _fitted(grid, took, planner_s=0.25)
    np.testing.assert_allclose(model.price(np.array([0, 5, 7])), [3.25 * 1, 8.25 * 2, 10.25 * 2])
    np.testing.assert_array_equal(model.seconds(), [took[row] for row in range(8)])


def test_starts_are_those_of_the_engine_else_the_median_of_the_others() -> None:
    grid = full_grid([Axis("max_num_seqs", (1, 2, 3, 4), Scope.ENGINE), Axis("batch_size", (1, 2))])
    observations = Observations(grid, ("e2el_ms",))
    for number, (row, start) in enumerate([(0, 10.0), (1, 14.0), (2, 40.0), (4, 20.0)]):
        point = grid.point(row)
        observations.add(Run(number, point, Measurement(Status.OK, Cost(start, 0, 1), (Reading(point, {}, 1.0),))))
    starts = CostModel(grid, np.ones(8)).fit(observations).start_seconds()
    np.testing.assert_array_equal(starts, np.repeat([12.0, 40.0, 20.0, 20.0], 2))


def test_a_known_sweep_starts_each_engine_once() -> None:
    """Rows 0 to 3 on one device, started in 5 s; rows 4 to 7 on two, started in 9 s."""
    grid = _grid()
    sweep = _fitted(grid, {row: 1.0 + row for row in range(8)}, starts={0: 5.0, 4: 9.0}).sweep()
    assert sweep.seconds == pytest.approx((36 + 14,) * 3)
    assert sweep.cost == pytest.approx((10 * 1 + 26 * 2 + 5 * 1 + 9 * 2,) * 3)
    part = _fitted(grid, {row: 1.0 + row for row in range(8)}, starts={0: 5.0, 4: 9.0}).sweep(np.array([1, 2]))
    assert part.seconds == pytest.approx((2 + 3 + 5,) * 3)


def test_ends_of_a_sweep_with_failures_by_hand() -> None:
    """Rows 0 to 3 ran in 1, 2, 4, 8 s, row 5 failed in 3 s; 4, 6 and 7 are open. With the model's own seconds s and
    half-widths h for the open ones: one that will run costs s e^±h, one that will not 3 s but up to s e^h, and where it
    is uncertain the low end takes the cheaper, the high end the more expensive case."""
    grid = _grid()
    model = _fitted(grid, {0: 1.0, 1: 2.0, 2: 4.0, 3: 8.0}, {5: 3.0})
    expected = model._at(slice(None))
    s, h = expected.if_feasible, expected.spread
    assert (h[[0, 1, 2, 3, 5]] == 0).all() and (h[[4, 6, 7]] > 0).all()
    feasibility = np.array([1, 1, 1, 1, 1.0, 0, 0.4, 0.0])
    low, high = s * np.exp(-h), s * np.exp(h)
    known = 1 + 2 + 4 + 8 + 3.0
    value = known + s[4] + (0.4 * s[6] + 0.6 * 3) + 3
    least = known + low[4] + min(3, low[6]) + min(3, low[7])
    most = known + high[4] + max(3, high[6]) + max(3, high[7])
    sweep = model.sweep(feasibility=feasibility)
    assert sweep.seconds == pytest.approx((value, least, most))
    assert sweep.cost[0] == pytest.approx(15 + 2 * (value - 15))


def test_seconds_of_a_roofline_are_predicted_from_cheap_runs() -> None:
    """Seconds 0.2 + 0.01 batch / devices, measured up to a batch of 64 and predicted to 1,024."""
    batches = tuple(2**k for k in range(11))
    grid = _grid(batches)
    truth = 0.2 + 0.01 * np.asarray(grid.column("batch_size"), dtype=float) / _devices(grid)
    cheap = [row for row in range(len(grid)) if grid.point(row)["batch_size"] <= 64]
    predicted = _fitted(grid, {row: float(truth[row]) for row in cheap}).seconds()
    np.testing.assert_array_equal(predicted[cheap], truth[cheap])
    others = np.setdiff1d(np.arange(len(grid)), cheap)
    assert np.abs(np.log(predicted[others] / truth[others])).max() < 0.25


def test_imports_are_part_of_a_sweep_once() -> None:
    grid = _grid()
    observations = Observations(grid, ("e2el_ms",))
    for row in range(8):
        point = grid.point(row)
        cost = Cost(5.0 if row in (0, 4) else 0.0, 0.0, 1.0, float(point["tensor_parallel_size"]),
                    16.0 if row == 0 else 0.0)
        observations.add(Run(row, point, Measurement(Status.OK, cost, (Reading(point, {"e2el_ms": (1.0,)}, 1.0),))))
    model = CostModel(grid, _devices(grid)).fit(observations)
    np.testing.assert_array_equal(model.start_seconds(), 5.0)
    assert model.sweep().seconds == pytest.approx((8 + 2 * 5 + 16,) * 3)
    assert model.sweep().cost == pytest.approx((4 + 4 * 2 + 5 * 1 + 5 * 2 + 16 * 1,) * 3)
    assert observations.spent == pytest.approx(4 + 4 * 2 + 5 * 1 + 5 * 2 + 16 * 1), "what was paid, once as well"


def test_a_price_is_that_of_our_runs_where_they_repeat_less_than_the_sweep() -> None:
    """Three of four batches are left out: the sweep counts four, a run one."""
    grid = _grid()
    observations = Observations(grid, ("e2el_ms",))
    for row in range(8):
        point = grid.point(row)
        observations.add(Run(row, point, Measurement(
            Status.OK, Cost(measure_s=2.0), (Reading(point, {"e2el_ms": (1.0,)}, 8.0),))))
    model = CostModel(grid, np.ones(8)).fit(observations)
    np.testing.assert_array_equal(model.price(np.arange(8)), 2.0)
    assert model.sweep().seconds == pytest.approx((64.0,) * 3)


def test_a_run_has_hung_that_takes_many_times_the_longest_predicted_and_a_minute() -> None:
    """Where one was ended so before, the next gets the factor once more. Failures foretell no length of a good run."""
    grid = _grid(tuple(2**k for k in range(8)))
    few = dict.fromkeys(range(settings.HANG_LEAST_RUNS - 1), 2.0)
    assert CostModel(grid, _devices(grid)).limit_s(3) is None and _fitted(grid, few).limit_s(3) is None
    model = _fitted(grid, {**few, 8: 2.0}, failed={15: 0.01})
    factor = settings.HANG_FACTOR
    assert model.limit_s(3) == 60 + factor * 2.0, "a point that was measured, which no interval surrounds"
    expected = model._at(np.array([12]))
    low, high = (float(expected.if_feasible[0] * np.exp(sign * expected.spread[0])) for sign in (-1, 1))
    assert low < 2.0 < high and model.limit_s(12) == pytest.approx(60 + factor * high)
    observations = Observations(grid, ("e2el_ms",))
    for number, row in enumerate([*few, 8]):
        point = grid.point(row)
        observations.add(Run(number, point, Measurement(Status.OK, Cost(measure_s=2.0), (
            Reading(point, {"e2el_ms": (1.0,)}, 2.0),))))
    observations.add(Run(9, grid.point(12), Measurement(Status.FAILED, Cost(measure_s=80.0), reason="hang")))
    again = CostModel(grid, _devices(grid)).fit(observations).limit_s(12)
    assert again is not None and factor * (60 + factor * 2.0) <= again < factor * (60 + factor * 14.0)
