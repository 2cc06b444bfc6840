"""The probability that a point can run: certain where known, and a limit in between found where it lies."""

from __future__ import annotations

import numpy as np
import pytest

from planner.ledger.observations import Observations, Run
from planner.models.feasibility import probability_of_feasibility
from planner.space.grid import Grid, full_grid
from planner.space.types import Axis, Cost, Measurement, Reading, Scale, Scope, Status

SIZES = tuple(2**k for k in range(10))


def _grid(*models: str) -> Grid:
    axes = [Axis("model", models, Scope.ENGINE, Scale.CATEGORY)] if models else []
    return full_grid([*axes, Axis("input_len", SIZES, scale=Scale.LOG), Axis("batch_size", SIZES, scale=Scale.LOG)])


def _ran(grid: Grid, rows: np.ndarray, fits: np.ndarray) -> Observations:
    observations = Observations(grid, ("latency_ms",))
    for number, row in enumerate(rows):
        point, cost = grid.point(int(row)), Cost(measure_s=1.0)
        observations.add(Run(number, point, Measurement(
            Status.OK, cost, (Reading(point, {"latency_ms": (1.0,)}, 1.0),)) if fits[row] else Measurement(
            Status.FAILED, cost, reason="out of memory")))
    return observations


def test_all_points_may_run_until_one_has_failed() -> None:
    grid = _grid()
    np.testing.assert_array_equal(probability_of_feasibility(grid, _ran(grid, np.arange(0), np.ones(100))), 1.0)
    np.testing.assert_array_equal(probability_of_feasibility(grid, _ran(grid, np.arange(9), np.ones(100))), 1.0)


def test_while_nothing_has_run_elsewhere_is_as_likely_as_not() -> None:
    grid = _grid()
    found = probability_of_feasibility(grid, _ran(grid, np.array([3, 50]), np.zeros(100)))
    np.testing.assert_array_equal(found, np.where(np.isin(np.arange(100), [3, 50]), 0.0, 0.5))


@pytest.mark.parametrize("seed", range(4))
def test_a_memory_limit_is_found_from_a_quarter_of_the_grid(seed: int) -> None:
    """Points fit up to a product of the two sizes: a line in their logarithms."""
    grid = _grid()
    product = np.asarray(grid.column("input_len")) * np.asarray(grid.column("batch_size"))
    fits = product <= 2**9
    rows = np.random.default_rng(seed).choice(100, 25, replace=False)
    found = probability_of_feasibility(grid, _ran(grid, rows, fits))
    np.testing.assert_array_equal(found[rows], fits[rows].astype(float))
    others = np.setdiff1d(np.arange(100), rows)
    assert ((found > 0) & (found < 1))[others].all()
    assert np.mean((found >= 0.5)[others] == fits[others]) >= 0.9
    assert found[others][product[others] <= 2**4].min() > 0.9
    assert found[others][product[others] >= 2**14].max() < 0.1


def test_few_failures_already_warn_of_worse_points() -> None:
    """Two failures at large sizes, three successes at small ones: probabilities fall with either size."""
    grid = _grid()
    rows = np.array([grid.find({"input_len": i, "batch_size": b}) for i, b in (
        (1, 1), (8, 2), (2, 8), (512, 64), (64, 512))])
    fits = np.isin(np.arange(100), rows[:3])
    found = probability_of_feasibility(grid, _ran(grid, rows, fits)).reshape(10, 10)
    unknown = ~np.isin(np.arange(100), rows).reshape(10, 10)
    free = np.where(unknown, found, np.nan)
    for line in (*free, *free.T):
        assert (np.diff(line[np.isfinite(line)]) < 0).all()


def test_a_category_that_always_fails_differs_from_one_that_runs() -> None:
    grid = _grid("small", "large")
    small = np.asarray(grid.column("model")) == "small"
    rows = np.concatenate([np.flatnonzero(small)[::20], np.flatnonzero(~small)[::20]])
    found = probability_of_feasibility(grid, _ran(grid, rows, small))
    assert found[small].min() > 0.7 and found[~small].max() < 0.3
