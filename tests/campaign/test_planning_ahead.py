"""The next run is decided while the present one is measured, where a runner leaves a core; nothing else changes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest

from planner.campaign.loop import Loop
from planner.campaign.stopping import Limits
from planner.ledger.observations import Observations
from planner.space.grid import full_grid
from planner.space.types import Measurement, Point, Proposal, StudyError
from planner.strategies.adaptive import AdaptiveStrategy
from planner.strategies.strategy import Strategy, StrategyContext
from tests.campaign.test_loop import AXES, Fake, Memory, N, others_take

A_MOMENT = 0.05


@dataclass
class Order:
    """A strategy that takes the open rows in order, and notes what it saw. It takes a moment to think."""

    seen: list[tuple[int, set[int], int | None, str]] = field(default_factory=list)
    thought: threading.Event = field(default_factory=threading.Event)

    def propose(self, observations: Observations) -> int | None:
        time.sleep(A_MOMENT)
        self.seen.append((len(observations.runs), set(observations.pending), observations.current_engine,
                          threading.current_thread().name))
        self.thought.set()
        rows = observations.open_rows
        return int(rows[0]) if len(rows) else None

    def is_due(self, observations: Observations) -> bool:
        return False

    def price(self, row: int, observations: Observations) -> float:
        return 0.0


class Patient(Fake):
    """A run that ends only once the next one is decided, or after `most` seconds."""

    def __init__(self, strategy: Order, most: float = 10.0) -> None:
        super().__init__()
        self.strategy, self.most = strategy, most

    def measure(self, proposal: Proposal) -> Measurement:
        if self.proposals:
            self.strategy.thought.clear()
            assert self.strategy.thought.wait(self.most), "nothing was planned while this was measured"
        return super().measure(proposal)


def play(strategy: Strategy | Order, runner: Fake, limits: Limits, memory: Memory | None = None,
         may_plan: Callable[[Point], bool] = lambda _: True) -> tuple[str, Observations]:
    observations = Observations(full_grid(AXES), ("latency_s",))
    loop = Loop(runner, strategy, memory or Memory(), observations, limits, may_plan=may_plan)  # type: ignore[arg-type]
    return loop.run(), observations


def test_runs_do_not_wait_for_the_planner() -> None:
    strategy = Order()
    reason, observations = play(strategy, Patient(strategy), Limits(trials=8))
    assert reason == "trials" and observations.finished == 8
    # The first two are decided before anything is known to plan from; the third on while the one before is measured.
    waited = [run.planner_s for run in observations.runs]
    assert min(waited[:2]) >= A_MOMENT and max(waited[2:]) < A_MOMENT / 2
    assert [name == threading.main_thread().name for *_, name in strategy.seen[:4]] == [True, True, False, False]


def test_a_runner_without_a_spare_core_is_left_alone() -> None:
    strategy = Order()
    _, observations = play(strategy, Fake(), Limits(trials=5), may_plan=lambda _: False)
    assert all(not pending and name == threading.main_thread().name for _, pending, _, name in strategy.seen)
    assert min(run.planner_s for run in observations.runs) >= A_MOMENT


def test_the_run_in_hand_counts_as_pending_on_its_engine() -> None:
    strategy = Order()
    _, observations = play(strategy, Fake("output_len"), Limits(trials=4))
    runs, pending, engine, _ = strategy.seen[2]
    second = observations.grid.find(observations.runs[1].point)
    assert second is not None and runs == 1 and second in pending
    assert pending == {second, *observations.grid.shorter("output_len", second).tolist()} - {
        int(row) for row in np.flatnonzero(observations.run_of == 0)}
    assert engine == observations.grid.engine[second]
    assert not observations.pending, "nothing stays pending once it has ended"


@pytest.mark.parametrize("trajectory", [None, "output_len"])
def test_the_whole_grid_is_measured_once(trajectory: str | None) -> None:
    grid, runner, memory = full_grid(AXES), Fake(trajectory), Memory()
    context = StrategyContext(grid, ("latency_s",), trajectory, np.ones(N), 0)
    reason, observations = play(AdaptiveStrategy(context), runner, Limits(), memory)
    assert reason == "grid" and observations.measured.all() and not memory.abandoned
    assert len({tuple(p.point.values()) for p in runner.proposals}) == len(runner.proposals)


def test_a_failed_run_leaves_no_engine_and_the_plan_goes_on() -> None:
    strategy, runner = Order(), Fake(largest=2)
    reason, observations = play(strategy, runner, Limits(trials=6))
    assert reason == "trials" and observations.failures and observations.current_engine is None
    assert [observations.grid.find(p.point) for p in runner.proposals] == list(range(6))


def test_a_planned_point_that_another_process_has_taken_is_planned_anew() -> None:
    runner = Fake()
    # Refreshed before each run and after each begin: before the fifth run, row 4 is planned and then taken.
    _, observations = play(Order(), runner, Limits(trials=6), Memory(others_take([4], 9)))
    assert [observations.grid.find(p.point) for p in runner.proposals] == [0, 1, 2, 3, 5, 6]


def test_ctrl_c_in_a_run_ends_with_the_plan_thrown_away() -> None:
    class Stopped(Fake):
        def measure(self, proposal: Proposal) -> Measurement:
            if len(self.proposals) == 3:
                raise KeyboardInterrupt
            return super().measure(proposal)

    ended: list[str] = []
    observations = Observations(full_grid(AXES), ("latency_s",))
    loop = Loop(Stopped(), Order(), Memory(), observations, Limits(), may_plan=lambda _: True,  # type: ignore[arg-type]
                stop_requested=lambda: bool(observations.runs) and observations.runs[-1].measurement.reason != "")
    ended.append(loop.run())
    assert ended == ["interrupted"] and observations.finished == 3 and not observations.pending


def test_an_error_of_the_planner_is_raised() -> None:
    class Broken(Order):
        def propose(self, observations: Observations) -> int | None:
            if observations.pending:
                raise StudyError("a reason")
            return super().propose(observations)

    with pytest.raises(StudyError, match="a reason"):
        play(Broken(), Fake(), Limits())
