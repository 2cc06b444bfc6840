"""What a strategy makes of runs that crash: another try where the run was lost, after points that tell as much."""

from __future__ import annotations

import numpy as np
import pytest

from planner.ledger.observations import Observations, Run
from planner.space.types import Cost, Measurement, Reading, Status
from planner.strategies.registry import make_strategy
from planner.strategies.strategy import StrategyContext
from planner.testing.strategy import example_contexts

NAMES = ("sweepwise", "random", "lhs", "full", "maxmin_matern", "sweepwise-max_variance")


def measure(context: StrategyContext, seen: Observations, row: int) -> None:
    point, seconds = context.grid.point(row), float(np.prod(1 + 0.5 * context.grid.codes[row]))
    reading = Reading(point, {"latency_s": (seconds,)}, seconds)
    seen.add(Run(len(seen.runs), point, Measurement(Status.OK, Cost(measure_s=seconds), (reading,))))


def crash(context: StrategyContext, seen: Observations, row: int) -> None:
    cost = Cost(measure_s=1.0, accelerators=float(context.accelerators[row]))
    seen.add(Run(len(seen.runs), context.grid.point(row), Measurement(Status.FAILED, cost, reason="crash")))


def played(name: str, context: StrategyContext, crashes: int, share: float = 0.3) -> tuple[list[int], Observations]:
    """The rows in order, on a machine where a share of the points crashes so many times, and the observations."""
    strategy, seen = make_strategy(name, context), Observations(context.grid, context.targets)
    left = np.where(np.random.default_rng(5).random(len(context.grid)) < share, crashes, 0)
    order: list[int] = []
    while (row := strategy.propose(seen)) is not None:
        order.append(row)
        if left[row]:
            left[row] -= 1
            crash(context, seen, row)
        else:
            measure(context, seen, row)
    return order, seen


@pytest.mark.parametrize("context", example_contexts()[:1])
@pytest.mark.parametrize("name", NAMES)
def test_every_point_that_crashed_once_is_measured_in_the_end(name: str, context: StrategyContext) -> None:
    order, seen = played(name, context, 1)
    assert seen.measured.all() and seen.failures == len(order) - len(context.grid) > 3
    again = [i for i in range(1, len(order)) if order[i] == order[i - 1]]
    assert all(not len(np.setdiff1d(range(len(context.grid)), order[:i])) for i in again), "others were left"


@pytest.mark.parametrize("name", NAMES)
def test_a_point_that_always_crashes_is_given_up_after_two_tries(name: str) -> None:
    order, seen = played(name, example_contexts()[0], 9)
    assert seen.known.all() and seen.failed.any() and max(np.bincount(order)) == 2
    assert (seen.broken[seen.failed] == 2).all()


def test_a_crash_at_the_start_leaves_the_rest_of_the_design() -> None:
    context = example_contexts()[0]
    strategy, seen = make_strategy("sweepwise", context), Observations(context.grid, context.targets)
    plain, fine = make_strategy("sweepwise", context), Observations(context.grid, context.targets)
    order, same = [], []
    for number in range(5):
        row, other = strategy.propose(seen), plain.propose(fine)
        assert row is not None and other is not None
        order.append(row)
        same.append(other)
        measure(context, fine, other)
        (crash if number == 0 else measure)(context, seen, row)
    assert order == same


def test_a_second_try_is_chosen_at_half_its_worth() -> None:
    """The same strategy on the same record but for one crash: that point is no longer the first choice, and is not
    dropped for good."""
    context = example_contexts()[0]
    strategy, seen = make_strategy("sweepwise", context), Observations(context.grid, context.targets)
    for _ in range(10):
        row = strategy.propose(seen)
        assert row is not None
        measure(context, seen, row)
    wanted = strategy.propose(seen)
    assert wanted is not None
    crash(context, seen, wanted)
    assert strategy.propose(seen) not in {None, wanted} and wanted in seen.open_rows
