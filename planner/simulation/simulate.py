"""The adaptive loop played on a recorded grid, and scored against its truth.

Every cost is a recorded one, charged to the loop's budget. The truth is used here only, after the loop has ended. Where
the machine changes in the simulation, the truth is that of the machine as it is when the scored state is reached.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from planner.campaign.loop import Loop, Measurer, Observer
from planner.campaign.stopping import AccuracyRule, Limits
from planner.evaluation.accuracy import score
from planner.evaluation.estimate import Estimate
from planner.ledger.observations import Observations, Run
from planner.space.metrics import time_power
from planner.space.runner_hints import repeats_of
from planner.space.slo import Boundary
from planner.space.types import Measurement, Metric, Point, Proposal
from planner.strategies.registry import make_strategy, uses_trajectories
from planner.strategies.strategy import Posterior, Strategy, StrategyContext, limit_of
from planner.tables.recorded_grid import Drifts, RecordedGrid

__all__ = ["Memory", "Replay", "Task", "simulate_each", "simulate_one", "stage"]


T = TypeVar("T")
Task = tuple[str, int]
"""A strategy's name and a seed."""


@dataclass(frozen=True, eq=False)
class Replay:
    """The input of simulations: a recorded grid, the metrics to predict, and the boundary to find, if any."""

    recorded: RecordedGrid
    metrics: tuple[Metric, ...]
    boundary: Boundary | None = None

    @property
    def targets(self) -> tuple[str, ...]:
        """The metrics' names."""
        return tuple(metric.name for metric in self.metrics)

    @property
    def full_cost(self) -> float:
        """Accelerator-seconds of the plain sweep."""
        return self.recorded.plain_sweep.cost[0]


class Memory:
    """A recorder without a record: a simulation's runs are only in its observations."""

    def __init__(self) -> None:
        self._number = 0

    def begin(self, point: Point, seed: int) -> tuple[Point, Point]:
        return point, point

    def finish(self, trial: Point, measurement: Measurement, planner_s: float = 0.0) -> Run:
        self._number += 1
        return Run(self._number - 1, trial, measurement, planner_s)

    def abandon(self, trial: Point, reason: str) -> None:
        pass

    def refresh(self, observations: Observations, before: Point | None = None) -> None:
        pass


@dataclass(frozen=True)
class _PointByPoint:
    """A runner without trajectories: every point is a separate run."""

    inner: Measurer
    trajectory_axis: None = None

    def measure(self, proposal: Proposal) -> Measurement:
        return self.inner.measure(proposal)


@dataclass
class _Timed:
    """A strategy whose computing time is counted, in seconds."""

    inner: Strategy
    seconds: float = 0.0

    def propose(self, observations: Observations) -> int | None:
        return self._timed(lambda: self.inner.propose(observations))

    def posterior(self, observations: Observations) -> Posterior:
        return self._timed(lambda: self.inner.posterior(observations))

    def is_due(self, observations: Observations) -> bool:
        return self.inner.is_due(observations)

    def price(self, row: int, observations: Observations) -> float:
        return self.inner.price(row, observations)

    def limit_s(self, row: int, observations: Observations) -> float | None:
        return limit_of(self.inner, row, observations)

    def _timed(self, call: Callable[[], T]) -> T:
        began = time.perf_counter()
        try:
            return call()
        finally:
            self.seconds += time.perf_counter() - began


@dataclass
class _Watch(Observer):
    """Records the cost and how slow the machine is after each run, and where the stopping rule would have stopped."""

    strategy: Strategy
    rule: AccuracyRule
    slowdown_now: Callable[[], float]
    costs: list[float] = field(default_factory=list)
    speeds: list[float] = field(default_factory=list)
    stopped_at: int | None = None
    reason: str | None = None
    posterior: Posterior | None = None

    def finished(self, run: Run, observations: Observations) -> None:
        previous = self.costs[-1] if self.costs else 0.0
        self.costs.append(previous + run.measurement.cost.accelerator_seconds)
        self.speeds.append(self.slowdown_now())
        if self.stopped_at is None and self.strategy.is_due(observations):
            posterior = self.strategy.posterior(observations)
            self.reason = self.rule.checkpoint(posterior.accuracy)
            if self.reason is not None:
                self.stopped_at, self.posterior = len(self.costs), posterior


def simulate_each(
    replay: Replay, tasks: Sequence[Task], shares: Sequence[float], stop_accuracy: float, jobs: int
) -> Iterator[list[dict[str, Any]]]:
    """The result of `simulate_one` for each task, as soon as it is finished, in any order."""
    from joblib import Parallel, delayed

    work = (delayed(simulate_one)(replay, name, seed, shares, stop_accuracy) for name, seed in tasks)
    results: Iterator[list[dict[str, Any]]] = Parallel(n_jobs=jobs, return_as="generator_unordered")(work)
    return results


def stage(replay: Replay, name: str, seed: int) -> tuple[Measurer, StrategyContext]:
    """The runner, and the context of the strategy called `name`, for one seed."""
    recorded = replay.recorded
    runner: Measurer = recorded.runner.reseeded(seed)
    trajectory = runner.trajectory_axis if uses_trajectories(name) else None
    if trajectory is None:
        runner = _PointByPoint(runner)
    return runner, StrategyContext(
        recorded.grid, replay.targets, trajectory, recorded.accelerators, seed, boundary=replay.boundary)


def _speed_of(runner: Measurer) -> Callable[[], float]:
    """The present factor on the times of the runner's machine: 1 for one that never changes."""
    inner = runner.inner if isinstance(runner, _PointByPoint) else runner
    return inner.slowdown_now if isinstance(inner, Drifts) else lambda: 1.0


def simulate_one(
    replay: Replay, name: str, seed: int, shares: Sequence[float], stop_accuracy: float
) -> list[dict[str, Any]]:
    """The simulation of one strategy with one seed: an entry of `runs` for each target."""
    full = replay.full_cost
    runner, make = stage(replay, name, seed)
    timed = _Timed(make_strategy(name, make))
    watch = _Watch(timed, AccuracyRule(stop_accuracy), _speed_of(runner))
    observations = Observations(replay.recorded.grid, replay.metrics)
    Loop(runner, timed, Memory(), observations, Limits(cost=max(shares) * full), seed, watch, clock=None,
         repeats=repeats_of(replay.recorded.runner)).run()
    states = [_state_at(watch.costs, share * full) for share in shares]
    scored = {state: _score(replay, make_strategy(name, make), observations.prefix(state), watch.speeds[state - 1])
              for state in set(states) if state}
    return [
        {
            "strategy": name, "seed": seed, "target": target,
            "at": [_entry(share, state, watch.costs, full, scored, target)
                   for share, state in zip(shares, states, strict=True)],
            "stop": _stop(replay, watch, observations, full, target),
            "planner_s": timed.seconds,
        }
        for target in replay.targets
    ]


def _state_at(costs: Sequence[float], limit: float) -> int:
    """Number of runs up to the last whose cost was within `limit`."""
    return int(np.searchsorted(costs, limit * (1 + 1e-12), side="right"))


def _score(
    replay: Replay, strategy: Strategy, observations: Observations, speed: float
) -> dict[str, dict[str, Any]]:
    if not observations.measured.any():
        return {}
    return _scores(replay, strategy.posterior(observations), observations, speed)


def _scores(
    replay: Replay, posterior: Posterior, observations: Observations, speed: float
) -> dict[str, dict[str, Any]]:
    result = {}
    for target in replay.targets:
        truth = replay.recorded.truth(target) * speed ** time_power(observations.metric(target))
        prediction = posterior.prediction
        found = score(truth, prediction.value[target], (prediction.low[target], prediction.high[target]),
                      observations.column(target), observations.known, observations.metric(target))
        estimate = posterior.accuracy.get(target)
        result[target] = {
            "accuracy": found.accuracy, "median_ape": found.median_ape, "p95_ape": found.p95_ape,
            "accuracy_all": found.accuracy_all, "coverage90": found.coverage90,
            "rank_correlation": found.rank_correlation, "top1_regret": found.top1_regret,
            **_estimated(estimate), "measured": int(observations.measured.sum()), "runs": len(observations.runs),
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


def _stop(replay: Replay, watch: _Watch, observations: Observations, full: float, target: str) -> dict[str, Any] | None:
    if watch.stopped_at is None or watch.posterior is None:
        return None
    state = watch.stopped_at
    found = _scores(replay, watch.posterior, observations.prefix(state), watch.speeds[state - 1])[target]
    return {"cost_fraction": watch.costs[state - 1] / full, **found, "reason": watch.reason}
