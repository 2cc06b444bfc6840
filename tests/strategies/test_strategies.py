"""Every strategy keeps the contract: new points only, the same ones for the same seed, after any record."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from planner.ledger.observations import Observations, Run
from planner.models.cost import CostModel
from planner.space.grid import Grid, full_grid
from planner.space.types import Axis, Cost, Measurement, Point, Reading, Role, Scale, Scope, Status, StudyError
from planner.strategies.registry import STRATEGIES, make_strategy, uses_trajectories
from planner.strategies.strategy import Strategy, StrategyContext, cover, sweeps

BATCHES = (1, 2, 3, 4, 6, 8, 12)


NAMES = [name for name, kind in STRATEGIES.items() if not (kind.for_boundary or kind.for_prior)]
"""The others have tests of their own."""


def the_grid() -> Grid:
    return full_grid([
        Axis("model", ("a", "b"), Scope.ENGINE, Scale.CATEGORY, (Role.MODEL,)),
        Axis("output_len", (4, 16, 64), scale=Scale.LOG, roles=(Role.OUTPUT_TOKENS,)),
        Axis("batch_size", BATCHES, scale=Scale.LOG, roles=(Role.BATCH,)),
    ])


def latency(point: Point) -> float:
    return (0.5 + 0.1 * float(point["output_len"])) * (1 + 0.1 * float(point["batch_size"])) * (
        3 if point["model"] == "b" else 1)


def context(grid: Grid, name: str, trajectory: str | None = None, seed: int = 0) -> StrategyContext:
    return StrategyContext(grid, ("latency_s",), trajectory if uses_trajectories(name) else None, np.ones(len(grid)),
                           seed)


def play(
    strategy: Strategy, grid: Grid, runs: int, trajectory: str | None = None, checkpoint: bool = False,
    value: Callable[[Point], float] = latency,
) -> tuple[list[int], Observations]:
    """Runs of a machine without noise; batches of 12 on model b fail."""
    observations, order = Observations(grid, ("latency_s",)), []
    while len(order) < runs:
        row = strategy.propose(observations)
        if row is None:
            break
        assert not observations.known[row] and row not in observations.pending
        assert strategy.propose(observations) == row, "asked twice without a run between, the answer changed"
        order.append(row)
        point = grid.point(row)
        cost = Cost(measure_s=value(point))
        if point["model"] == "b" and point["batch_size"] == 12:
            measurement = Measurement(Status.FAILED, cost, reason="out of memory")
        else:
            covered = [grid.point(int(r)) for r in cover(grid, trajectory, row, observations)]
            measurement = Measurement(Status.OK, cost, tuple(
                Reading(p, {"latency_s": (value(p),)}, value(p)) for p in covered))
        observations.add(Run(len(order) - 1, point, measurement))
        if checkpoint and strategy.is_due(observations):
            strategy.posterior(observations)
    return order, observations


@pytest.mark.parametrize("trajectory", [None, "output_len"])
@pytest.mark.parametrize("name", NAMES)
def test_each_point_once_and_the_same_for_the_same_seed(name: str, trajectory: str | None) -> None:
    grid = the_grid()
    used = trajectory if uses_trajectories(name) else None
    first, observations = play(make_strategy(name, context(grid, name, trajectory)), grid, 14, used)
    assert len(set(first)) == len(first)
    assert play(make_strategy(name, context(grid, name, trajectory)), grid, 14, used)[0] == first
    if name.startswith("powers_of_two"):
        return  # one design, whatever the seed
    assert play(make_strategy(name, context(grid, name, trajectory, seed=1)), grid, 14, used)[0] != first
    posterior = make_strategy(name, context(grid, name, trajectory)).posterior(observations)
    for array in (posterior.prediction.value, posterior.prediction.low, posterior.prediction.high):
        assert array["latency_s"].shape == (len(grid),) and np.isfinite(array["latency_s"]).all()
    assert ((posterior.feasibility >= 0) & (posterior.feasibility <= 1)).all()
    assert (posterior.longest is not None) == (used is not None)


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith("powers_of_two")])
def test_a_strategy_goes_on_to_the_end_of_the_grid(name: str) -> None:
    grid = the_grid()
    order, observations = play(make_strategy(name, context(grid, name)), grid, 10**6)
    assert sorted(order) == list(range(len(grid))) and observations.known.all()


@pytest.mark.parametrize("name", NAMES)
def test_a_checkpoint_changes_no_proposal(name: str) -> None:
    """A simulation has a checkpoint after each run, a study before the next one."""
    grid = the_grid()
    quiet, _ = play(make_strategy(name, context(grid, name)), grid, 16)
    asked, _ = play(make_strategy(name, context(grid, name)), grid, 16, checkpoint=True)
    assert asked == quiet


@pytest.mark.parametrize("name", NAMES)
def test_a_strategy_may_be_asked_about_any_record(name: str) -> None:
    """As on a resume: what was measured was chosen by somebody else."""
    grid, rng = the_grid(), np.random.default_rng(5)
    observations = Observations(grid, ("latency_s",))
    for number, row in enumerate(rng.permutation(len(grid))[:11]):
        point = grid.point(int(row))
        reading = Reading(point, {"latency_s": (latency(point),)}, latency(point))
        observations.add(Run(number, point, Measurement(Status.OK, Cost(measure_s=latency(point)), (reading,))))
    strategy = make_strategy(name, context(grid, name))
    row = strategy.propose(observations)
    assert row is not None and not observations.known[row]
    observations.pending = {row}
    other = strategy.propose(observations)
    assert other is not None and other != row and not observations.known[other]
    observations.pending = set()
    # The other process died, and its point is free again.
    ends = set()
    while (left := strategy.propose(observations)) is not None and left not in ends:
        ends.add(left)
        at = grid.point(left)
        reading = Reading(at, {"latency_s": (latency(at),)}, 1.0)
        observations.add(Run(100 + len(ends), at, Measurement(Status.OK, Cost(measure_s=1.0), (reading,))))
    assert row in ends


@pytest.mark.parametrize("name", NAMES)
def test_before_anything_worked_another_point_is_tried(name: str) -> None:
    grid = the_grid()
    strategy, observations = make_strategy(name, context(grid, name)), Observations(grid, ("latency_s",))
    for number in range(16):
        row = strategy.propose(observations)
        assert row is not None and not observations.known[row]
        observations.add(Run(number, grid.point(row), Measurement(Status.FAILED, Cost(measure_s=1.0), reason="no")))


def test_powers_of_two_is_exactly_that() -> None:
    grid = the_grid()
    for name, trajectory in (("powers_of_two", None), ("powers_of_two_trajectories", "output_len")):
        order, observations = play(make_strategy(name, context(grid, name, trajectory)), grid, 10**6, trajectory)
        sizes = {grid.point(row)["batch_size"] for row in order}
        assert sizes == {1, 2, 4, 8}
        if trajectory is None:
            assert len(order) == 2 * 3 * 4
        else:  # only the longest runs: they measure the shorter ones
            assert [grid.point(row)["output_len"] for row in order] == [64] * 8
        assert {grid.point(int(r))["batch_size"] for r in np.flatnonzero(observations.measured)} == sizes
        assert observations.measured.sum() == 2 * 3 * 4
        engines = grid.engine[order]
        assert np.count_nonzero(np.diff(engines)) == 1, "each engine is started once"


def test_powers_of_two_without_a_batch_axis_is_refused() -> None:
    grid = full_grid([Axis("x", (1, 2, 3))])
    with pytest.raises(StudyError, match="role: batch"):
        make_strategy("powers_of_two", context(grid, "powers_of_two"))
    with pytest.raises(StudyError, match="sweepwise"):
        make_strategy("sweepwize", context(grid, "sweepwise"))


def test_interpolation_between_powers_of_two_by_hand() -> None:
    """A curve that no straight line follows: 1, 2, 4, 8 are measured as 10, 14, 26, 66; 3, 6 and 12 follow."""
    values = {1: 10.0, 2: 14.0, 3: 999.0, 4: 26.0, 6: 999.0, 8: 66.0, 12: 999.0}
    grid = the_grid()
    strategy = make_strategy("powers_of_two", context(grid, "powers_of_two"))
    _, observations = play(strategy, grid, 10**6, value=lambda point: values[int(point["batch_size"])])
    predicted = strategy.posterior(observations).prediction.value["latency_s"]
    expected = {1: 10.0, 2: 14.0, 3: 20.0, 4: 26.0, 6: 46.0, 8: 66.0, 12: 106.0}
    for row in range(len(grid)):
        assert predicted[row] == pytest.approx(expected[int(grid.point(row)["batch_size"])], rel=1e-12)


def test_the_full_sweep_is_the_plain_one() -> None:
    grid = the_grid()
    order, _ = play(make_strategy("full", context(grid, "full")), grid, 10**6)
    assert np.count_nonzero(np.diff(grid.engine[order])) == 1
    within = [grid.codes[row] @ [0, 7, 1] for row in order[:21]]
    assert within != sorted(within), "drift over hours would lie along an axis"


def test_lhs_begins_spread_out() -> None:
    grid = full_grid([Axis("x", tuple(range(16))), Axis("y", tuple(range(16)))])
    order, _ = [], None
    strategy = make_strategy("lhs", StrategyContext(grid, ("latency_s",), None, np.ones(len(grid))))
    observations: Any = Observations(grid, ("latency_s",))
    for number in range(32):
        row = strategy.propose(observations)
        order.append(row)
        at = grid.point(row)
        observations.add(Run(number, at, Measurement(Status.OK, Cost(), (Reading(at, {"latency_s": (1.0,)}, 1.0),))))
    for axis in range(2):
        quarters = np.bincount(grid.codes[order, axis] // 4, minlength=4)
        assert quarters.min() >= 3


def test_sweeps_by_hand() -> None:
    grid = the_grid()
    observations = Observations(grid, ("latency_s",))
    for number, row in enumerate(range(len(grid))):
        at = grid.point(row)
        start = 7.0 if row in {0, 21} else 0.0
        reading = Reading(at, {"latency_s": (latency(at),)}, latency(at))
        observations.add(Run(number, at, Measurement(Status.OK, Cost(start, 0, latency(at), 2.0), (reading,))))
    points = [grid.point(row) for row in range(len(grid))]
    plain, longest = sweeps(CostModel(grid, np.full(len(grid), 2.0)).fit(observations), "output_len")
    assert longest is not None
    assert plain.seconds[0] == pytest.approx(sum(map(latency, points)) + 14)
    assert plain.cost[0] == pytest.approx(2 * plain.seconds[0]) and plain.cost[0] == plain.cost[1] == plain.cost[2]
    assert longest.seconds[0] == pytest.approx(sum(latency(p) for p in points if p["output_len"] == 64) + 14)
    assert sweeps(CostModel(grid, np.full(len(grid), 2.0)).fit(observations), None)[1] is None
