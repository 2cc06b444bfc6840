"""Where a boundary is asked for, runs go where it is undecided, and pay for themselves."""

from __future__ import annotations

import numpy as np
import pytest

from planner.acquisition.level_set import LevelSetChooser
from planner.evaluation.attainment import attainment_of
from planner.ledger.observations import Observations, Run
from planner.models.cost import CostModel
from planner.models.grid_model import GridModel
from planner.space.grid import Grid, full_grid
from planner.space.slo import Boundary, parse_tier
from planner.space.types import Axis, Cost, Measurement, Reading, Role, Scale, Scope, Status

LOADS = (1, 2, 4, 8, 16, 32, 64, 128)


def a_grid() -> Grid:
    return full_grid([
        Axis("tensor_parallel_size", (1, 2), Scope.ENGINE, Scale.LOG, (Role.ACCELERATORS,)),
        Axis("input_len", (64, 256, 1024), scale=Scale.LOG, roles=(Role.INPUT_TOKENS,)),
        Axis("max_concurrency", LOADS, scale=Scale.LOG, roles=(Role.CONCURRENCY,)),
    ])


def value(grid: Grid, row: int) -> float:
    """ttft in ms: 500 is reached at a concurrency of 8 to 128."""
    point = grid.point(row)
    return 0.25 * float(point["input_len"]) ** 0.5 * float(point["max_concurrency"]) ** 1.2 * 8 / float(
        point["tensor_parallel_size"])


def measure(observations: Observations, row: int, *repeats: float, seconds: float = 1.0, start_s: float = 0.0) -> None:
    point = observations.grid.point(row)
    readings = repeats or (value(observations.grid, row),)
    cost = Cost(start_s, 0.0, seconds, float(point["tensor_parallel_size"]))
    reading = Reading(point, {"ttft_ms": readings}, seconds)
    observations.add(Run(len(observations.runs), point, Measurement(Status.OK, cost, (reading,))))


def choose(observations: Observations, size: int, *tiers: str) -> tuple[list[int], np.ndarray]:
    """The chosen rows, and which rows were undecided for any tier."""
    grid = observations.grid
    model = GridModel(grid, None).fit(observations)
    cost = CostModel(grid, np.asarray(grid.column("tensor_parallel_size"), dtype=float)).fit(observations)
    boundary = Boundary(tuple(parse_tier(text, "") for text in tiers), 0.95)
    feasibility = np.ones(len(grid))
    chosen = LevelSetChooser(boundary)(model, cost, observations, feasibility, size, np.random.default_rng(0))
    return chosen, attainment_of(boundary, model.predict(), feasibility, observations).undecided.any(axis=0)


def some_runs() -> Observations:
    grid = a_grid()
    observations = Observations(grid, ("ttft_ms",))
    for row in (0, 7, 10, 21, 24, 31, 34, 47):
        measure(observations, row)
    return observations


def test_the_first_run_is_the_most_ambiguous_one() -> None:
    """Prices and starts are equal here, and nothing is under way."""
    observations = some_runs()
    grid = observations.grid
    model, cost = GridModel(grid, None).fit(observations), CostModel(grid, np.ones(len(grid))).fit(observations)
    cost.price = lambda rows: np.ones(len(rows))  # type: ignore[method-assign]
    boundary, everywhere = Boundary((parse_tier("ttft_ms <= 500", ""),), 0.95), np.ones(len(grid))
    (first,) = LevelSetChooser(boundary)(model, cost, observations, everywhere, 1, np.random.default_rng(0))
    attainment = attainment_of(boundary, model.predict(), everywhere, observations)
    undecided = attainment.undecided[0]
    assert undecided.sum() >= 4
    doubt = np.abs(attainment.probability[0] - 0.5)
    assert doubt[first] == pytest.approx(doubt[undecided].min())


def test_a_batch_spreads_over_the_lines() -> None:
    """The second run counts the first as measured: its neighbours are not bought as well."""
    observations = some_runs()
    lines = observations.grid.lines("max_concurrency")
    chosen, undecided = choose(observations, 4, "ttft_ms <= 500", "ttft_ms <= 250", "ttft_ms <= 1000")
    assert len(set(lines[chosen])) >= 3
    assert undecided.sum() > 8


def test_runs_under_way_count_as_measured() -> None:
    observations = some_runs()
    first, _ = choose(observations, 1, "ttft_ms <= 500")
    observations.pending = set(first)
    second, _ = choose(observations, 1, "ttft_ms <= 500")
    lines = observations.grid.lines("max_concurrency")
    assert lines[second[0]] != lines[first[0]]


def test_a_batch_is_new_undecided_points_each_once() -> None:
    observations = some_runs()
    observations.pending = {13, 14}
    chosen, undecided = choose(observations, 4, "ttft_ms <= 500")
    assert len(set(chosen)) == 4
    assert not any(observations.known[row] or row in observations.pending for row in chosen)
    assert undecided[chosen].all()
    assert undecided.mean() < 0.6  # so that a random batch would not pass


def test_runs_go_to_the_boundary_asked_for() -> None:
    """A bound of 40 ms is reached at low loads, one of 4,000 ms at high ones."""
    observations = some_runs()
    load = np.asarray(observations.grid.column("max_concurrency"), dtype=float)
    low, _ = choose(observations, 4, "ttft_ms <= 40")
    high, _ = choose(observations, 4, "ttft_ms <= 4000")
    assert np.median(load[low]) < 16 < np.median(load[high])


def test_nothing_is_chosen_where_nothing_is_undecided() -> None:
    chosen, undecided = choose(some_runs(), 4, "ttft_ms <= 1e9")
    assert not undecided.any() and not chosen


def test_an_expensive_start_keeps_to_the_running_engine() -> None:
    grid = a_grid()
    free, expensive = Observations(grid, ("ttft_ms",)), Observations(grid, ("ttft_ms",))
    for row in (24, 31, 34, 47, 0, 7, 10, 21):
        measure(free, row)
        measure(expensive, row, start_s=1000.0 if row in {24, 0} else 0.0)
    assert expensive.current_engine == grid.engine[0]
    tiers = ("ttft_ms <= 500", "ttft_ms <= 250", "ttft_ms <= 1000")
    chosen, undecided = choose(expensive, 3, *tiers)
    assert (grid.engine[chosen] == grid.engine[0]).all()
    assert undecided[grid.engine != grid.engine[0]].any()
    assert (grid.engine[choose(free, 6, *tiers)[0]] != grid.engine[0]).any()


def test_a_reading_that_its_noise_leaves_undecided_is_taken_again() -> None:
    """Every point is measured: what is left are those whose three repeats lie a little below the bound."""
    grid = a_grid()
    observations = Observations(grid, ("ttft_ms",))
    bound = 1.015 * value(grid, 12)
    for row in range(len(grid)):
        centre = value(grid, row)
        measure(observations, row, 0.98 * centre, centre, 1.02 * centre)
    chosen, undecided = choose(observations, 4, f"ttft_ms <= {bound:.6g}")
    assert undecided[12] and 12 in chosen and set(chosen) == set(np.flatnonzero(undecided))
    for _ in range(3):
        measure(observations, 12, 0.975 * bound, bound, 1.02 * bound)
    chosen, undecided = choose(observations, 4, f"ttft_ms <= {bound:.6g}")
    assert not undecided[12] and 12 not in chosen


def test_while_others_measure_all_that_is_undecided_the_rest_is_measured() -> None:
    observations = some_runs()
    _, undecided = choose(observations, 1, "ttft_ms <= 500")
    observations.pending = set(np.flatnonzero(undecided).tolist())
    chosen, _ = choose(observations, 3, "ttft_ms <= 500")
    assert len(chosen) == 3
    assert not any(observations.known[row] or row in observations.pending for row in chosen)
