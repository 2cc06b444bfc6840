"""The loop: propose, measure, record. The only owner of the budget.

The loop depends neither on the runner nor on the record: simulations play the same loop on a recorded grid.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias, TypeVar

from threadpoolctl import threadpool_limits

from planner.acquisition.repeats import Repetition, repetition
from planner.campaign.observers import Observer
from planner.campaign.readings import check_gives_targets, learnable
from planner.campaign.stopping import AccuracyRule, Limits, is_located
from planner.ledger.observations import Observations, Run
from planner.space.types import Cost, Measurement, Point, Proposal, Status
from planner.strategies.strategy import Posterior, Strategy, conclusion_of, cover, limit_of, with_answers

__all__ = ["Loop", "Measurer", "Observer", "Recorder", "Turns"]

T = TypeVar("T")
Turns: TypeAlias = Generator[tuple[Point, int], Measurement | None, T]
"""Gives the point and the seed of each run, and is sent what it measured."""


class Measurer(Protocol):
    """The half of a Runner (planner.space.types) that the loop needs."""

    @property
    def trajectory_axis(self) -> str | None:
        """The axis whose smaller values a run measures too, or None."""
        ...

    def measure(self, proposal: Proposal) -> Measurement:
        """Execute one run."""
        ...


class Recorder(Protocol[T]):
    """Keeps the runs. `begin` is written before a run starts, `finish` when it has ended."""

    def begin(self, point: Point, seed: int) -> tuple[T, Point]:
        """A handle for the run, and its point: the given one, or one that a person enqueued."""
        ...

    def finish(self, trial: T, measurement: Measurement, planner_s: float = 0.0) -> Run:
        """The finished run, recorded with its measurement."""
        ...

    def abandon(self, trial: T, reason: str) -> None:
        """Close the handle without a run."""
        ...

    def refresh(self, observations: Observations, before: T | None = None) -> None:
        """Update `observations` with what other processes did: their runs, without those that a person has discarded
        since, and what they are measuring, in `underway` and `pending`; with `before`, only runs begun earlier than
        that handle are."""
        ...


@dataclass(frozen=True, slots=True)
class _Plan:
    """What was decided while a run was measured. posterior: of a checkpoint that was due; row: the next run, if any;
    run_of_row: the run that had covered it, -1 for none."""

    posterior: Posterior | None
    row: int | None
    run_of_row: int


@dataclass
class Loop:
    """One campaign. Build it, `run` it once.

    Where a runner leaves a core, the next run is decided while the present one is measured, which then counts as a run
    of another worker: it is conditioned on, its values are not known yet. So a checkpoint is a run behind.

    clock: seconds, for the time that the accelerators wait for the planner; None charges none (simulations).
    stop_requested: called before each run; true ends the loop with the reason "interrupted".
    repeats: repeats of each run that the study asks for, where fewer will do; None where each run makes all.
    may_plan: whether the planner may compute while a point is measured.
    reached: whether this resumes a study that stopped because of its accuracy.
    await_others: called when only runs of other workers leave nothing to do; true after a moment's wait to look again.
    is_provisional: whether the reason for the end holds only while other workers' runs are under way.
    """

    runner: Measurer
    strategy: Strategy
    recorder: Recorder[Any]
    observations: Observations
    limits: Limits
    seed: int = 0
    observer: Observer = field(default_factory=Observer)
    clock: Callable[[], float] | None = time.perf_counter
    stop_requested: Callable[[], bool] = lambda: False
    reached: bool = False
    repeats: int | None = None
    may_plan: Callable[[Point], bool] = lambda _: False
    await_others: Callable[[], bool] = lambda: False
    posterior: Posterior | None = None
    is_provisional: bool = False
    _has_begun: bool = False  # whether this session's engines have what all of them need once
    _plan: _Plan | None = None
    _waited_s: float = 0.0

    def run(self) -> str:
        """The reason for the end (planner.campaign.run), after running to it. Raises StudyError if runs do not give a
        target, RunnerError as the runner does."""
        # The planner's matrices are small: a second BLAS thread slows them, and takes a core from the benchmark.
        with threadpool_limits(limits=1):
            turns, measurement = self.turns(), None
            try:
                while True:
                    measurement = self.measured(*turns.send(measurement))
            except StopIteration as end:
                return str(end.value)

    def turns(self) -> Turns[str]:
        """What `run` does, where the caller makes the runs with `measured`: simulations take several loops in turns."""
        self.observer.begun(self.observations)
        reason = yield from self._turns()
        self.observer.ended(reason, self.observations)
        return reason

    def _turns(self) -> Turns[str]:
        rule = AccuracyRule(self.limits.accuracy, self.reached) if self.limits.accuracy is not None else None
        waiting_since = self.clock() if self.clock else 0.0
        resumed = len(self.observations.runs)  # a new run after failures is meant as another try
        while True:
            self._catch_up()
            if reason := self._broken_off(len(self.observations.runs) - resumed):
                return reason
            plan, self._plan = self._plan, None
            found = plan.posterior if plan else self._due_posterior()
            if found is not None and (reason := self._checkpoint(found, rule)):
                return reason
            row = self._next_row(plan)
            if reason := self._nothing_left(row):
                if self.is_provisional and self.await_others():
                    continue
                return reason
            assert row is not None
            planner_s = self.clock() - waiting_since + self._waited_s if self.clock else 0.0
            yield from self._measure(row, planner_s, is_first=len(self.observations.runs) == resumed)
            waiting_since = self.clock() if self.clock else 0.0

    def _broken_off(self, runs: int) -> str | None:
        """A reason to end that other workers may not have: of this one's `runs` since it started."""
        reason = "interrupted" if self.stop_requested() else "failures" if self._nothing_works(runs) else None
        self.is_provisional = reason is not None and bool(self.observations.underway)
        return reason

    def _nothing_left(self, row: int | None) -> str | None:
        """The reason why no run can begin, if none can. Sets `is_provisional`."""
        if row is None:
            self.is_provisional = bool(self.observations.pending)
            return conclusion_of(self.strategy, self.observations) or "grid"
        reason = self._limit(row)
        self.is_provisional = bool(reason and self.observations.underway) and self._limit(row, alone=True) is None
        return reason

    def _nothing_works(self, runs: int) -> bool:
        most = self.limits.failures
        return most is not None and runs >= most and not self.observations.measured.any()

    def _wants_posterior(self) -> bool:
        limits = self.limits
        asked = (limits.accuracy, limits.share, limits.boundary, limits.choice, self.repeats)
        return any(one is not None for one in asked)

    def _due_posterior(self) -> Posterior | None:
        due = self._wants_posterior() and self.strategy.is_due(self.observations)
        return self.strategy.posterior(self.observations) if due else None

    def _next_row(self, plan: _Plan | None) -> int | None:
        """The row that was planned ahead, unless another process has had it since."""
        seen = self.observations
        if plan is not None and plan.row is not None and plan.row not in seen.pending and (
                seen.run_of[plan.row] == plan.run_of_row):
            return plan.row
        return self.strategy.propose(seen)

    def _checkpoint(self, found: Posterior, rule: AccuracyRule | None) -> str | None:
        self.posterior = now = with_answers(found, self.limits.boundary, self.limits.choice, self.observations)
        self.observer.checkpoint(now, self.observations)
        reason = rule.checkpoint(now.accuracy) if rule is not None else now.choice.conclusion if now.choice else None
        return reason or ("boundary" if is_located(now.attainment) else None)

    def _limit(self, row: int | None, alone: bool = False) -> str | None:
        """The limit that a run at `row` would exceed. None: a point that a person enqueued, whatever it costs. alone:
        without what other workers' runs will have cost."""
        seen = self.observations
        plain_cost = self.posterior.plain.cost[0] if self.posterior else None
        is_priced = self.limits.ceiling(plain_cost) is not None
        others = [self._price(run.row, run.engine) if is_priced else 0.0 for run in seen.underway if not alone]
        price = self._price(row, seen.current_engine)
        if is_priced and not self._has_begun:
            price += seen.import_cost
        return self.limits.reached(seen, price, plain_cost, others)

    def _price(self, row: int | None, engine: int | None) -> float:
        """The predicted price of a run where engine configuration `engine` is running; 0 if it is off the grid."""
        if row is None:
            return 0.0
        seen = self.observations
        here, seen.current_engine = seen.current_engine, engine
        try:
            return self.strategy.price(row, seen)
        finally:
            seen.current_engine = here

    def _catch_up(self, before: Any = None) -> None:
        self.recorder.refresh(self.observations, before)
        if axis := self.runner.trajectory_axis:
            for row in list(self.observations.pending):
                self.observations.pending.update(self.observations.grid.shorter(axis, row).tolist())

    def _measure(self, row: int, planner_s: float, is_first: bool) -> Turns[None]:
        seen, seed = self.observations, self.seed + len(self.observations.runs)
        asked, before = seen.grid.point(row), (int(seen.run_of[row]), seen.version)
        handle, point = self.recorder.begin(asked, seed)
        # Two processes may take the same point, or the last run, at the same moment; the record decides who was first.
        self._catch_up(before=handle)
        if why := self._too_late(row if point == asked else None, *before):
            self.recorder.abandon(handle, why)
            return
        self.observer.started(point, self.observations)
        measured = yield point, seed
        assert measured is not None
        measurement = learnable(measured, point, self.observations)
        if is_first:  # planned while the runner imported what its engines need, which is charged in full
            planner_s = max(0.0, planner_s - measurement.cost.import_s)
        self._has_begun = True
        run = self.recorder.finish(handle, measurement, planner_s)
        self.observations.add(run)
        self.observer.finished(run, self.observations)
        check_gives_targets(run, self.observations)

    def _too_late(self, row: int | None, run_of_row: int, version: tuple[object, int]) -> str | None:
        """Why the run begun at `row` (None: a person chose) must not go on, if others did something since `version`."""
        seen = self.observations
        if row is not None and (seen.run_of[row] != run_of_row or row in seen.pending):
            return "another process was first at this point"
        is_last = (seen.underway or seen.version != version) and self._limit(row)
        return "other processes have begun the last runs" if is_last else None

    def measured(self, point: Point, seed: int) -> Measurement:
        """The outcome of a run at `point`; the next run is planned meanwhile, where that is allowed."""
        self._waited_s = 0.0
        seen, row = self.observations, self.observations.grid.find(point)
        if row is None:
            return Measurement(Status.FAILED, Cost(), reason="the enqueued point is not in the grid")
        proposal = self._proposal(row, seed)  # before the strategy's models may be changing
        if not seen.measured.any() or not self.may_plan(point):
            return self._outcome(proposal)
        mine = {row, *map(int, cover(seen.grid, self.runner.trajectory_axis, row, seen))} - seen.pending
        before = seen.current_engine
        seen.pending |= mine
        seen.current_engine = int(seen.grid.engine[row])
        with ThreadPoolExecutor(1) as pool:
            plan = pool.submit(self._plan_ahead)
            measurement = self._outcome(proposal)
            ended = self.clock() if self.clock else 0.0
        self._waited_s = self.clock() - ended if self.clock else 0.0
        seen.pending -= mine
        seen.current_engine = before
        self._plan = plan.result()
        return measurement

    def _plan_ahead(self) -> _Plan:
        found = self._due_posterior()
        row = self.strategy.propose(self.observations)
        return _Plan(found, row, -1 if row is None else int(self.observations.run_of[row]))

    def _proposal(self, row: int, seed: int) -> Proposal:
        grid, how = self.observations.grid, self._repetition()
        rows = cover(grid, self.runner.trajectory_axis, row, self.observations)
        return Proposal(grid.point(row), tuple(grid.point(int(r)) for r in rows), seed, how.repeats, how.warmup,
                        limit_of(self.strategy, row, self.observations))

    def _outcome(self, proposal: Proposal) -> Measurement:
        try:
            return self.runner.measure(proposal)
        except KeyboardInterrupt:
            return Measurement(Status.INTERRUPTED, Cost(), reason="stopped by hand in the middle of the run")

    def _repetition(self) -> Repetition:
        if self.repeats is None:
            return Repetition()
        return repetition(self.observations, self.repeats, self._error())

    def _error(self) -> float | None:
        """What predictions are typically off by, as the last posterior says of the least accurate target."""
        found = [one.estimated for one in self.posterior.accuracy.values() if one] if self.posterior else []
        return max(0.0, 1 - min(found)) if found else None
