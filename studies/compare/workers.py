"""The loss of several workers on one study against one batch: each is asked in turn, while the others still measure.

    python studies/compare/workers.py studies/replay.yaml studies/replay_h100.yaml --runs 30 --seeds 5

A study of so many runs is played on a recorded grid. Then k workers are asked one after the other, while none of their
runs has ended, and one batch of k is chosen from the same models. Both are judged by the model that was fitted to those
runs: how much the summed variance of the logarithms of the targets falls over 1,000 unmeasured points, once each chosen
point is measured. *at once*: each worker is asked once. *in turns*: each is asked again as soon as its run, the oldest,
has ended, until so many runs a worker are chosen (--rounds); compared with one worker that makes as many runs alone.

before: workers that only avoid the points of others. after: workers that condition on them, as now.
"""

from __future__ import annotations

import argparse
import copy
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from threadpoolctl import threadpool_limits

from planner.acquisition.underway import given_readings
from planner.acquisition.variance_reduction import choose_batch
from planner.campaign.loop import Loop, Measurer
from planner.campaign.setup import open_setup
from planner.campaign.stopping import Limits
from planner.ledger.observations import Observations, Run
from planner.models.cost import CostModel
from planner.models.feasibility import probability_of_feasibility
from planner.models.grid_model import GridModel
from planner.simulation.simulate import Memory, Replay, stage
from planner.space.types import FloatArray, IntArray, Proposal
from planner.strategies.adaptive import AdaptiveStrategy
from planner.strategies.strategy import StrategyContext, cover

__all__ = ["AvoidingWorker", "Played", "played"]

Rule: TypeAlias = Callable[..., AdaptiveStrategy]
"""Makes a worker; arguments as for AdaptiveStrategy."""

_REFERENCES = 1000


class AvoidingWorker(AdaptiveStrategy):
    """The former rule: points of other workers are left out, but not conditioned on."""

    def __init__(self, context: StrategyContext, **given: Any) -> None:
        super().__init__(context, choose=_avoiding, **given)

    def _is_shared(self, observations: Observations) -> bool:
        return False


def _avoiding(
    model: GridModel, cost: CostModel, observations: Observations, feasibility: FloatArray, size: int,
    rng: np.random.Generator,
) -> list[int]:
    """A batch as if pending points were not in the grid."""
    without = copy.copy(observations)
    without.failed = observations.failed.copy()
    without.failed[list(observations.pending)] = True
    without.pending = set()
    return choose_batch(model, cost, without, feasibility, size, rng)


@dataclass(frozen=True, eq=False)
class Played:
    """A study after some runs, with everything needed to continue it and to judge the next choice."""

    runner: Measurer
    context: StrategyContext
    observations: Observations
    model: GridModel
    cost: CostModel
    references: IntArray

    def batch(self, size: int) -> list[int]:
        """One batch, as one worker chooses it."""
        feasibility = probability_of_feasibility(self.context.grid, self.observations)
        rng = np.random.default_rng([self.context.seed, len(self.observations.runs)])
        return choose_batch(self.model, self.cost, self.observations, feasibility, size, rng)

    def at_once(self, rule: Rule, workers: int) -> list[int]:
        """The choices of so many new workers, one after the other, while none of their runs ends."""
        # Each would fit the same models to the same runs.
        return self._asked([self._worker(rule, model=self.model, cost=self.cost) for _ in range(workers)], workers)

    def in_turns(self, rule: Rule, workers: int, runs: int) -> list[int]:
        """The first `runs` choices of new workers, each asked again once its run, the oldest, has ended."""
        return self._asked([self._worker(rule) for _ in range(workers)], runs)

    def _worker(self, rule: Rule, **given: Any) -> AdaptiveStrategy:
        return rule(self.context, initial=np.empty(0, dtype=np.int64), **given)

    def _asked(self, strategies: list[AdaptiveStrategy], runs: int) -> list[int]:
        observations = Observations(self.context.grid, self.observations.targets, self.observations.runs)
        workers = len(strategies)
        chosen: list[int] = []
        for turn in range(runs):
            if turn >= workers:
                self._end(observations, chosen[turn - workers])
            running = chosen[max(0, turn - workers + 1):]
            observations.pending = {int(row) for one in running for row in self._covers(one, observations)}
            row = strategies[turn % workers].propose(observations)
            assert row is not None
            chosen.append(row)
        return chosen

    def reduction(self, rows: Sequence[int]) -> float:
        """The reduction of the summed variance over the references by a run at each of `rows`."""
        weights, total = self.model.weights(self.references), 0.0
        feasibility = probability_of_feasibility(self.context.grid, self.observations)[self.references]
        points = np.concatenate([np.asarray(rows, dtype=np.int64), self.references])
        n = len(rows)
        for quantity in self.model.quantities:
            before = self.model.regressors_[quantity.name].covariance(points, points)
            assert before is not None
            readings = np.flatnonzero(self.model.observes(quantity)[points[:n]])
            after = given_readings(before, readings.tolist(), self.model.regressors_[quantity.name].noise_)
            fall = np.diagonal(before)[n:] - np.diagonal(after)[n:]
            total += float(weights[quantity.name] * feasibility @ fall)
        return total

    def _covers(self, row: int, observations: Observations) -> IntArray:
        return cover(self.context.grid, self.context.trajectory, row, observations)

    def _end(self, observations: Observations, row: int) -> None:
        grid, seed = self.context.grid, self.context.seed + len(observations.runs)
        covers = tuple(grid.point(int(other)) for other in self._covers(row, observations))
        measurement = self.runner.measure(Proposal(grid.point(row), covers, seed))
        observations.add(Run(len(observations.runs), grid.point(row), measurement))


def played(study: Path, runs: int, seed: int) -> Played:
    """A study of a recorded grid after `runs` runs of one worker."""
    opened = open_setup(study)
    runner, context = stage(Replay(opened.recorded(), opened.metrics), "sweepwise", seed)
    observations = Observations(context.grid, opened.metrics)
    Loop(runner, AdaptiveStrategy(context), Memory(), observations, Limits(trials=runs), seed, clock=None).run()
    model = GridModel(context.grid, context.trajectory).fit(observations)
    cost = CostModel(context.grid, context.accelerators).fit(observations)
    rows = np.random.default_rng(seed).permutation(observations.unmeasured_rows)[:_REFERENCES]
    return Played(runner, context, observations, model, cost, np.sort(rows))


def _losses(state: Played, workers: int, rounds: int) -> dict[str, float]:
    """Shares of the variance reduction of a batch, or of one worker alone, that workers lose, by way and rule."""
    rules: dict[str, Rule] = {"before": AvoidingWorker, "after": AdaptiveStrategy}
    batch = state.reduction(state.batch(workers))
    found = {f"at once, {name}": 1 - state.reduction(state.at_once(rule, workers)) / batch
             for name, rule in rules.items()}
    if rounds:
        runs = rounds * workers
        alone = state.reduction(state.in_turns(AdaptiveStrategy, 1, runs))
        found |= {f"in turns, {name}": 1 - state.reduction(state.in_turns(rule, workers, runs)) / alone
                  for name, rule in rules.items()}
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", type=Path, nargs="+", help="study files of recorded grids")
    parser.add_argument("--workers", type=int, nargs="+", default=[2, 4, 8])
    parser.add_argument("--runs", type=int, default=30, help="how long the study is before")
    parser.add_argument("--rounds", type=int, default=4, help="runs of each worker in turns; 0: only at once")
    parser.add_argument("--seeds", type=int, default=5)
    asked = parser.parse_args()
    ways = ("at once", "in turns") if asked.rounds else ("at once",)
    columns = [f"{way}, {rule}" for way in ways for rule in ("before", "after")]
    print(f"Variance reduction lost after {asked.runs} runs, median (worst) of {asked.seeds} seeds, %\n")
    print("| grid | workers | " + " | ".join(columns) + " |\n|" + " --- |" * (2 + len(columns)))
    with threadpool_limits(1):
        for study in asked.studies:
            states = [played(study, asked.runs, seed) for seed in range(asked.seeds)]
            for workers in asked.workers:
                losses = [_losses(state, workers, asked.rounds) for state in states]
                cells = [[100 * loss[column] for loss in losses] for column in columns]
                shown = " | ".join(f"{statistics.median(cell):.1f} ({max(cell):.1f})" for cell in cells)
                print(f"| {study.stem} | {workers} | {shown} |", flush=True)


if __name__ == "__main__":
    main()
