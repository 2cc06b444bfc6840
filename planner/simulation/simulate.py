"""The adaptive loop played on a recorded grid, by one worker or several, and scored against its truth.

Every cost is a recorded one, charged to the loop's budget.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from planner.campaign.loop import Loop, Measurer, Observer
from planner.campaign.stopping import AccuracyRule, Limits
from planner.evaluation.choice import Choice, ChoiceQuestion
from planner.ledger.observations import Observations, Run
from planner.simulation.choice_truth import ChoiceTruth
from planner.simulation.replay import Replay
from planner.simulation.scoring import Scorer
from planner.simulation.workers import SharedRecord, WorkerRecord, play_together
from planner.space.runner_hints import repeats_of
from planner.space.types import Measurement, Point, Proposal
from planner.strategies.registry import make_strategy, uses_trajectories
from planner.strategies.strategy import Posterior, Strategy, StrategyContext, limit_of, with_answers
from planner.tables.recorded_grid import Drifts

__all__ = ["Memory", "Replay", "Task", "simulate_each", "simulate_one", "stage"]


T = TypeVar("T")
Task: TypeAlias = tuple[str, int] | tuple[str, int, int]
"""A strategy's name, a seed and, where they are asked for, a number of workers."""


class Memory:
    """A recorder without a record: a simulation's runs are only in its observations. first: number of the first."""

    def __init__(self, first: int = 0) -> None:
        self._number = first

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
    """Notes where the stopping rule would have stopped: that of the choice which is asked for, if one is. stopped_at:
    number of runs that had begun by then; posterior: None where some of them had not ended; choice: what was known of
    it at the last checkpoint."""

    strategy: Strategy
    rule: AccuracyRule
    record: SharedRecord
    asked: ChoiceQuestion | None = None
    stopped_at: int | None = None
    reason: str | None = None
    posterior: Posterior | None = None
    choice: Choice | None = None

    def finished(self, run: Run, observations: Observations) -> None:
        if self.stopped_at is None and self.strategy.is_due(observations):
            posterior = with_answers(self.strategy.posterior(observations), None, self.asked, observations)
            self.choice = posterior.choice
            self.reason = (self.rule.checkpoint(posterior.accuracy) if self.asked is None
                           else self.choice.conclusion if self.choice else None)
            if self.reason is not None:
                self.stopped_at = len(self.record.charges)
                self.posterior = None if observations.underway else posterior


def simulate_each(
    replay: Replay, tasks: Sequence[Task], shares: Sequence[float], stop_accuracy: float, jobs: int
) -> Iterator[list[dict[str, Any]]]:
    """The result of `simulate_one` for each task, as soon as it is finished, in any order."""
    from joblib import Parallel, delayed

    work = (delayed(simulate_one)(replay, task[0], task[1], shares, stop_accuracy, *task[2:]) for task in tasks)
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
        recorded.grid, replay.targets, trajectory, recorded.accelerators, seed, boundary=replay.boundary,
        priors=replay.priors, weights=replay.weights, choice=replay.choice)


def _speed_of(runner: Measurer) -> Callable[[], float]:
    """The present factor on the times of the runner's machine: 1 for one that never changes."""
    inner = runner.inner if isinstance(runner, _PointByPoint) else runner
    return inner.slowdown_now if isinstance(inner, Drifts) else lambda: 1.0


def simulate_one(
    replay: Replay, name: str, seed: int, shares: Sequence[float], stop_accuracy: float, workers: int | None = None
) -> list[dict[str, Any]]:
    """The simulation of one strategy with one seed: an entry of `runs` for each target. workers: None is one worker, of
    which neither its number nor its time is said."""
    runner, make = stage(replay, name, seed)
    timed = _Timed(make_strategy(name, make))
    record = SharedRecord(Observations(replay.recorded.grid, replay.metrics))
    watch = _Watch(timed, AccuracyRule(stop_accuracy), record, replay.choice)
    runners = [runner, *(stage(replay, name, seed)[0] for _ in range(1, workers or 1))]
    limits, repeats = Limits(cost=max(shares) * replay.full_cost), repeats_of(replay.recorded.runner)
    play_together([
        Loop(one, timed, WorkerRecord(record, one.trajectory_axis, _speed_of(one)), record.observations, limits, seed,
             watch, clock=None, repeats=repeats) for one in runners])
    scorer = Scorer(replay, record, lambda: make_strategy(name, make), tells_time=workers is not None)
    decision = _decision(replay, watch.choice)
    return [
        {
            "strategy": name, "seed": seed, **({} if workers is None else {"workers": workers}), "target": target,
            "at": [scorer.at(share, target) for share in shares],
            "stop": scorer.stop(watch.stopped_at, watch.posterior, watch.reason, target) if watch.stopped_at else None,
            **decision, "planner_s": timed.seconds,
        }
        for target in replay.targets
    ]


def _decision(replay: Replay, choice: Choice | None) -> dict[str, Any]:
    """The choice at the stop, or at the last checkpoint, beside the truth; nothing where none is asked for."""
    if replay.choice is None:
        return {}
    truth = ChoiceTruth(replay.choice, replay.recorded, replay.metrics)
    return {"decision": None if choice is None else truth.to_json(choice)}
