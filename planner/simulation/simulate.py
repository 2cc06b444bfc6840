"""The adaptive loop played over a recorded grid, and scored against its truth.

Every cost is a replayed one, charged to the loop's one budget. The truth is seen here only, after the fact.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

import numpy as np

from planner.acquisition.stopping import AccuracyRule, Limits
from planner.acquisition.strategy import Belief, Strategy, StrategyContext
from planner.evaluation.accuracy import score
from planner.evaluation.estimate import Estimate
from planner.ledger.observations import Observations, Run
from planner.loop import Loop, Observer
from planner.simulation.strategies import check_names, make_strategy, uses_trajectories
from planner.space.metrics import is_gain
from planner.space.recorded import RecordedTable
from planner.space.types import FloatArray, Measurement, Point, Proposal, Runner, RunnerContext, StudyError

if TYPE_CHECKING:
    from planner.study import Study

__all__ = ["Memory", "Task", "check", "full_cost", "plain_seconds", "plain_sweep", "simulate_each", "simulate_one",
           "stage", "true_values"]


T = TypeVar("T")
Task = tuple[str, int]
"""A strategy's name and a seed."""


class _Replay(Runner, Protocol):
    """A runner over a recorded table."""

    @property
    def table(self) -> RecordedTable: ...


class Memory:
    """Keeps no record: a simulation's runs live in its observations."""

    def __init__(self) -> None:
        self._number = 0

    def begin(self, point: Point, seed: int) -> tuple[Point, Point]:
        return point, point

    def finish(self, trial: Point, measurement: Measurement, planner_s: float = 0.0) -> Run:
        self._number += 1
        return Run(self._number - 1, trial, measurement, planner_s)

    def abandon(self, trial: Point, reason: str) -> None:
        pass

    def refresh(self, seen: Observations, before: Point | None = None) -> None:
        pass


@dataclass(frozen=True)
class _PointByPoint:
    """A runner whose trajectories are left unused: every point is its own run."""

    inner: Runner
    trajectory_axis: None = None

    def measure(self, proposal: Proposal) -> Measurement:
        return self.inner.measure(proposal)


@dataclass
class _Timed:
    """A strategy whose own seconds are counted."""

    inner: Strategy
    seconds: float = 0.0

    def propose(self, seen: Observations) -> int | None:
        return self._timed(lambda: self.inner.propose(seen))

    def believe(self, seen: Observations) -> Belief:
        return self._timed(lambda: self.inner.believe(seen))

    def is_due(self, seen: Observations) -> bool:
        return self.inner.is_due(seen)

    def price(self, row: int, seen: Observations) -> float:
        return self.inner.price(row, seen)

    def _timed(self, call: Callable[[], T]) -> T:
        began = time.perf_counter()
        try:
            return call()
        finally:
            self.seconds += time.perf_counter() - began


@dataclass
class _Watch(Observer):
    """Notes the cost after each run, and where the stopping rule would have stopped."""

    strategy: Strategy
    rule: AccuracyRule
    costs: list[float] = field(default_factory=list)
    stopped_at: int | None = None
    reason: str | None = None
    belief: Belief | None = None

    def finished(self, run: Run, seen: Observations) -> None:
        previous = self.costs[-1] if self.costs else 0.0
        self.costs.append(previous + run.measurement.cost.accelerator_seconds)
        if self.stopped_at is None and self.strategy.is_due(seen):
            belief = self.strategy.believe(seen)
            self.reason = self.rule.look(belief.accuracy)
            if self.reason is not None:
                self.stopped_at, self.belief = len(self.costs), belief


def check(study: Study, names: Sequence[str]) -> None:
    """Raises StudyError where the study is no recorded grid, or a strategy cannot play on it: before any is played."""
    if not hasattr(study.runner, "table"):
        raise StudyError("runner.kind: simulate needs a recorded grid; use `kind: replay`")
    check_names(names, "--strategies")
    for name in names:
        study.strategy(name)


def simulate_each(
    study: Study, tasks: Sequence[Task], shares: Sequence[float], stop_accuracy: float, jobs: int
) -> Iterator[list[dict[str, Any]]]:
    """What `simulate_one` gives for each task as soon as it is done, in no certain order."""
    from joblib import Parallel, delayed

    work = (delayed(simulate_one)(study, name, seed, shares, stop_accuracy) for name, seed in tasks)
    results: Iterator[list[dict[str, Any]]] = Parallel(n_jobs=jobs, return_as="generator_unordered")(work)
    return results


def stage(study: Study, name: str, seed: int) -> tuple[Runner, StrategyContext]:
    """A runner over the study's recorded grid, and what the strategy called `name` may know, for one seed."""
    recorded = cast("_Replay", study.runner)
    kind = cast("Any", type(recorded))
    context = RunnerContext(study.grid.axes, study.targets, study.directory, seed)
    runner: Runner = kind(study.settings, context, table=recorded.table)
    trajectory = runner.trajectory_axis if uses_trajectories(name) else None
    if trajectory is None:
        runner = cast("Runner", _PointByPoint(runner))
    return runner, StrategyContext(study.grid, study.targets, trajectory, recorded.accelerators, seed)


def simulate_one(
    study: Study, name: str, seed: int, shares: Sequence[float], stop_accuracy: float
) -> list[dict[str, Any]]:
    """One strategy with one seed: an entry of `runs` for each target."""
    full = full_cost(study)
    runner, make = stage(study, name, seed)
    timed = _Timed(make_strategy(name, make))
    watch = _Watch(timed, AccuracyRule(stop_accuracy))
    seen = Observations(study.grid, study.targets)
    Loop(runner, timed, Memory(), seen, Limits(cost=max(shares) * full), seed, watch, clock=None).run()
    states = [_state_at(watch.costs, share * full) for share in shares]
    scored = {state: _score(study, make_strategy(name, make), seen.prefix(state)) for state in set(states) if state}
    return [
        {
            "strategy": name, "seed": seed, "target": target,
            "at": [_entry(share, state, watch.costs, full, scored, target)
                   for share, state in zip(shares, states, strict=True)],
            "stop": _stop(study, watch, seen, full, target),
            "planner_s": timed.seconds,
        }
        for target in study.targets
    ]


def full_cost(study: Study) -> float:
    """Accelerator-seconds of the plain sweep; see `plain_sweep`."""
    return plain_sweep(study)[1]


def plain_sweep(study: Study) -> tuple[float, float, float, float]:
    """Seconds and accelerator-seconds of the plain sweep of a recorded grid, and the parts of them that are engine
    starts: each point's median cost, its repeats, its run's overhead, failed points included, and one start of each
    engine configuration."""
    settings, devices = study.settings, cast("_Replay", study.runner).table.accelerators[_table_rows(study)]
    seconds = plain_seconds(study)
    first = np.unique(study.grid.engine, return_index=True)[1]
    starts_s, starts_cost = settings.engine_start_s * len(first), float(settings.engine_start_s * devices[first].sum())
    return (float(seconds.sum()) + starts_s, float((seconds * devices).sum()) + starts_cost, starts_s, starts_cost)


def plain_seconds(study: Study) -> FloatArray:
    """Seconds of a run of each point of a recorded grid alone, (N,), engine start apart."""
    table, settings, rows = cast("_Replay", study.runner).table, study.settings, _table_rows(study)
    # A run takes as many rows as there are, where there are fewer than repeats.
    repeats = np.minimum(np.bincount(table.point, minlength=len(table))[rows], settings.repeats)
    seconds: FloatArray = table.plain_seconds[rows] * repeats + settings.run_overhead_s
    return seconds


def _table_rows(study: Study) -> list[int]:
    table = cast("_Replay", study.runner).table
    return [table.find(study.grid.point(row)) for row in range(len(study.grid))]


def true_values(study: Study, metric: str) -> FloatArray:
    """A metric of a recorded grid at each grid point, (N,): NaN where the point failed or it is undefined."""
    values: FloatArray = cast("_Replay", study.runner).table.truth(metric)[_table_rows(study)]
    return values


def _state_at(costs: Sequence[float], limit: float) -> int:
    """How many runs had been made when the cost had not yet passed `limit`."""
    return int(np.searchsorted(costs, limit * (1 + 1e-12), side="right"))


def _score(study: Study, strategy: Strategy, seen: Observations) -> dict[str, dict[str, Any]]:
    if not seen.measured.any():
        return {}
    return _scores(study, strategy.believe(seen), seen)


def _scores(study: Study, belief: Belief, seen: Observations) -> dict[str, dict[str, Any]]:
    table, rows = cast("_Replay", study.runner).table, _table_rows(study)
    result = {}
    for target in study.targets:
        truth: FloatArray = table.truth(target)[rows]
        prediction = belief.prediction
        found = score(truth, prediction.value[target], (prediction.low[target], prediction.high[target]),
                      seen.column(target), seen.known, is_gain(target))
        estimate = belief.accuracy.get(target)
        result[target] = {
            "accuracy": found.accuracy, "median_ape": found.median_ape, "p95_ape": found.p95_ape,
            "accuracy_all": found.accuracy_all, "coverage90": found.coverage90,
            "rank_correlation": found.rank_correlation, "top1_regret": found.top1_regret,
            **_estimated(estimate), "measured": int(seen.measured.sum()), "runs": len(seen.runs),
        }
    return result


def _estimated(estimate: Estimate | None) -> dict[str, float | None]:
    return {
        "estimated_accuracy": estimate.estimated if estimate else None,
        "estimated_low": estimate.low if estimate else None, "estimated_high": estimate.high if estimate else None,
    }


_UNDEFINED = dict.fromkeys((
    "accuracy", "median_ape", "p95_ape", "accuracy_all", "coverage90", "rank_correlation", "top1_regret",
    "estimated_accuracy", "estimated_low", "estimated_high"))


def _entry(
    share: float, state: int, costs: Sequence[float], full: float, scored: dict[int, dict[str, Any]], target: str
) -> dict[str, Any]:
    found = scored.get(state, {}).get(target, {**_UNDEFINED, "measured": 0, "runs": state})
    return {"cost_fraction": share, "cost_actual": costs[state - 1] / full if state else 0.0, **found}


def _stop(study: Study, watch: _Watch, seen: Observations, full: float, target: str) -> dict[str, Any] | None:
    if watch.stopped_at is None or watch.belief is None:
        return None
    found = _scores(study, watch.belief, seen.prefix(watch.stopped_at))[target]
    return {"cost_fraction": watch.costs[watch.stopped_at - 1] / full, **found, "reason": watch.reason}
