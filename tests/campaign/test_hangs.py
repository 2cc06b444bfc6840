"""A run that hangs is ended by what the cost model says, and tried once more; no run that only takes long is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from planner.campaign.loop import Loop
from planner.campaign.setup import open_setup
from planner.campaign.stopping import Limits
from planner.ledger.observations import Observations
from planner.models import settings
from planner.simulation.simulate import Memory
from planner.space.failure import FailureKind
from planner.space.grid import full_grid
from planner.space.types import Axis, Cost, Measurement, Proposal, Reading, Scale, Status
from planner.strategies.registry import make_strategy
from planner.strategies.strategy import StrategyContext

GRID = full_grid([
    Axis("output_len", (1, 4, 16, 64, 256), scale=Scale.LOG), Axis("batch", (1, 2, 4, 8), scale=Scale.LOG)])
FOREVER = 1e6


class Hangs:
    """Runs take as long as their output, in seconds; each `every`-th hangs until it is ended."""

    trajectory_axis = None

    def __init__(self, every: int = 10**9) -> None:
        self.every, self.proposals, self.costs = every, list[Proposal](), list[float]()

    def measure(self, proposal: Proposal) -> Measurement:
        self.proposals.append(proposal)
        seconds = float(proposal.point["output_len"]) * (1 + 0.1 * float(proposal.point["batch"]))
        hung = len(self.proposals) % self.every == 0
        took = min(FOREVER if hung else seconds, proposal.limit_s or np.inf)
        self.costs.append(took)
        if took == seconds:
            return Measurement(Status.OK, Cost(measure_s=took), (Reading(proposal.point, {"y_s": (took,)}, took),))
        return Measurement(Status.FAILED, Cost(measure_s=took), reason="hang")


def played(runner: Any, strategy: str = "sweepwise", **limits: Any) -> tuple[str, Observations]:
    context = StrategyContext(GRID, ("y_s",), None, np.ones(len(GRID)))
    seen = Observations(GRID, ("y_s",))
    chosen = make_strategy(strategy, context)
    return Loop(runner, chosen, Memory(), seen, Limits(**limits), clock=None).run(), seen


@pytest.mark.parametrize("strategy", ["sweepwise", "random"])
def test_a_hang_costs_its_limit_and_the_point_is_measured_later(strategy: str) -> None:
    runner = Hangs(every=12)
    reason, seen = played(runner, strategy, accuracy=1.0)
    assert reason == "grid" and seen.measured.all() and seen.failures >= 1
    for proposal, cost in zip(runner.proposals, runner.costs, strict=True):
        longest = float(proposal.point["output_len"]) * 1.8
        assert cost <= settings.HANG_FLOOR_S + 3 * settings.HANG_FACTOR * longest
    assert {run.measurement.failure_kind for run in seen.runs} == {None, FailureKind.HANG}


def test_the_first_runs_have_no_limit_and_later_ones_a_generous_one() -> None:
    runner = Hangs()
    assert played(runner)[0] == "grid"
    limits = [proposal.limit_s for proposal in runner.proposals]
    assert limits[: settings.HANG_LEAST_RUNS] == [None] * settings.HANG_LEAST_RUNS
    given = [limit / cost for limit, cost in zip(limits, runner.costs, strict=True) if limit is not None]
    assert len(given) >= 8 and min(given) > settings.HANG_FACTOR / 2


def test_the_limit_is_set_before_the_next_run_is_planned() -> None:
    """Planning ahead fits the cost model anew, in another thread: a limit read meanwhile could be anything."""
    runner, order = Hangs(), []
    context = StrategyContext(GRID, ("y_s",), None, np.ones(len(GRID)))
    strategy: Any = make_strategy("sweepwise", context)
    limit_s, propose = strategy.limit_s, strategy.propose
    strategy.limit_s = lambda *given: (order.append("limit"), limit_s(*given))[1]
    strategy.propose = lambda *given: (order.append("propose"), propose(*given))[1]
    Loop(runner, strategy, Memory(), Observations(GRID, ("y_s",)), Limits(trials=12), clock=None,
         may_plan=lambda _: True).run()
    assert order.count("limit") == 12
    assert all(order[i - 1] == "propose" for i, what in enumerate(order) if what == "limit")


@pytest.mark.parametrize(("strategy", "runs"), [("sweepwise", 20), ("random", 20)])
def test_a_study_whose_every_run_crashes_ends(strategy: str, runs: int) -> None:
    class Crashes(Hangs):
        def measure(self, proposal: Proposal) -> Measurement:
            self.proposals.append(proposal)
            return Measurement(Status.FAILED, Cost(measure_s=1.0), reason="crash")

    runner = Crashes()
    reason, seen = played(runner, strategy, failures=20)
    assert (reason, seen.finished, seen.failures, seen.spent) == ("failures", runs, runs, runs * 1.0)
    assert len({str(proposal.point) for proposal in runner.proposals}) == 20, "each point once, before any twice"
    reason, seen = played(Crashes(), strategy)
    assert reason == "grid" and (seen.broken == 2).all() and seen.finished == 2 * len(GRID)


def test_a_replayed_hang_costs_no_more_than_the_limit(recorded: Callable[..., Any]) -> None:
    grid = recorded(models=("small",), runner={"machine": {"hang": 0.08, "hang_s": FOREVER}})
    study = open_setup(grid.study)
    seen = Observations(study.grid, study.metrics)
    Loop(study.runner, study.strategy("sweepwise"), Memory(), seen, Limits(trials=40), clock=None).run()
    late = [run.measurement.cost.run_s for run in seen.runs[settings.HANG_LEAST_RUNS:]
            if run.measurement.failure_kind is FailureKind.HANG]
    assert late and max(late) < FOREVER / 100
