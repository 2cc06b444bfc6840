"""A new version against an old one, on a recorded grid with a planted change: what is said, and what it costs.

    python studies/compare/release.py replay.yaml --target latency_s --cases same,planted --seeds 10 --jobs 2

The study file replays a recorded grid. A reading of either side is the recorded value of its point times normal noise
(--noise, of one reading; its logarithm's standard deviation), drawn by the seed. The old study has one reading of every
point. The new version is measured as `sweepwise compare --prior` does, one reading a run, until that ends; each run
has noise of its own and costs what the recording says, which the planner knows from the old study. The cases:

*same*: nothing changed. *planted*: --change in a corner of one engine configuration, drawn by the seed: the values in
the upper part (--part) of each size. *slower*: every run takes --change longer from the first on, another machine.
*step*: every run takes --change longer from a moment on; --step-at 0.5 is half way through what the study of the same
seed takes where nothing changed.

*alarms*: studies that end with a point that is said to be worse; *better*: with one that is said to be better. *wrong
points*: those of each seed. *found*: of the planted points, how many are said to be worse; *named at*: the cost from
which on one is, until the end. *cost*: at the end, as a share of the plain sweep's; of it what engine starts took, and
runs at points that had been run before (*again*). *common*: what all points are said to share. *machine*: how much
longer a run takes at the end than at first.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self, cast

import numpy as np
from joblib import Parallel, delayed
from rich.console import Console
from rich.table import Table

from planner.campaign.loop import Loop
from planner.campaign.observers import Observer
from planner.campaign.setup import open_setup
from planner.campaign.stopping import Limits
from planner.evaluation.change import Change, ChangeQuestion
from planner.ledger.observations import Observations, Run
from planner.models.cost import CostModel
from planner.models.prior import OldTarget, Prior
from planner.models.prior_regressor import PriorColumn
from planner.models.regressor import Regressor
from planner.simulation.simulate import Memory
from planner.space.types import (
    BoolArray,
    Cost,
    FloatArray,
    IntArray,
    Kind,
    Measurement,
    Proposal,
    Reading,
    Scale,
    Scope,
    Status,
)
from planner.strategies.difference import DifferenceStrategy
from planner.strategies.strategy import StrategyContext

CASES = ("same", "planted", "slower", "step")


@dataclass(frozen=True)
class Setting:
    """What is played, beside the case and the seed. change, noise, more_than: shares. part: of each size's values, from
    above. step_at: share of the runs' seconds. targets: those of the study file where empty."""

    change: float = 0.1
    noise: float = 0.02
    part: float = 0.5
    step_at: float = 0.5
    more_than: float = 0.05
    targets: tuple[str, ...] = ()


@dataclass(frozen=True)
class Played:
    """One study at its end. planted, worse, better, wrong: points. found: share of the planted ones, NaN where none
    are. cost, starts, again: shares of the plain sweep's cost; again: of runs at points that had been run. seconds: of
    all runs. common, machine: ratios with their 90 % intervals. named: the cost from which on some planted point was
    said to be worse, until the end; NaN if never."""

    case: str
    seed: int
    planted: int
    worse: int
    better: int
    wrong: int
    found: float
    cost: float
    starts: float
    again: float
    runs: int
    engines: int
    seconds: float
    common: tuple[float, float, float]
    machine: tuple[float, float, float]
    named: float


class Recording:
    """A recorded grid of which every point works, and a corner of it, drawn by the seed."""

    def __init__(self, path: Path, setting: Setting, seed: int) -> None:
        study = open_setup(path)
        recorded, self.grid = study.recorded(), study.grid
        self.metrics = [metric for metric in study.metrics
                        if not setting.targets or metric.name in setting.targets]
        self.logs = {metric.name: np.log(recorded.truth(metric.name)) for metric in self.metrics}
        if not np.isfinite(list(self.logs.values())).all():
            raise SystemExit("some points have no value; leave them out by runner.where, or name a --target")
        self.seconds, self.devices = recorded.plain_seconds, recorded.accelerators
        self.start_s, self.full = recorded.runner.settings.engine_start_s, recorded.plain_sweep.cost[0]
        self._rng = np.random.default_rng([seed, 0])
        self.old = {name: self.reading(name, setting.noise) for name in self.logs}
        engine = int(self._rng.integers(self.grid.engine.max() + 1))
        self.corner: BoolArray = self.grid.engine == engine
        for i, axis in enumerate(self.grid.axes):
            if axis.scope is not Scope.ENGINE and axis.scale is not Scale.CATEGORY and len(axis.values) > 1:
                self.corner &= self.grid.codes[:, i] >= math.ceil((1 - setting.part) * len(axis.values))

    def reading(self, metric: str, noise: float) -> FloatArray:
        """The logarithm of a reading of each point, (N,)."""
        found: FloatArray = self.logs[metric] + noise * self._rng.standard_normal(len(self.grid))
        return found

    @property
    def prior(self) -> Prior:
        """The old study. Every point was measured, so nothing has to be learned of it."""
        none = np.zeros(len(self.grid))
        return Prior("old", len(self.grid), {}, {name: np.exp(log) for name, log in self.old.items()},
                     PriorColumn("old", np.log(self.seconds), none),
                     {name: OldTarget(log, log, none) for name, log in self.old.items()})


class KnownSeconds:
    """What a run of each point takes is known: the part of a regressor that a cost model needs."""

    def __init__(self, seconds: FloatArray) -> None:
        self._log = np.log(seconds)

    def fit(self, rows: IntArray, y: FloatArray, runs: IntArray, **_: object) -> Self:
        """Nothing is learned."""
        return self

    def predict(self, rows: IntArray | slice = slice(None)) -> tuple[FloatArray, FloatArray]:
        """Mean and standard deviation of the logarithm."""
        return self._log[rows], np.zeros(len(self._log[rows]))


class NewVersion:
    """Measures the new version. slower: factor on the times of each point, (N,); after: on those of all runs from
    moment_s on."""

    trajectory_axis = None

    def __init__(self, recording: Recording, setting: Setting, slower: FloatArray, seed: int, after: float = 1.0,
                 moment_s: float = math.inf) -> None:
        self._recording, self._noise, self._slower = recording, setting.noise, slower
        self._rng = np.random.default_rng([seed, 1])
        self._after, self._left_s = after, moment_s
        self._engine: int | None = None

    def measure(self, proposal: Proposal) -> Measurement:
        """One reading."""
        made, point = self._recording, proposal.point
        row = made.grid.find(point)
        assert row is not None
        factor = float(self._slower[row]) * (1.0 if self._left_s > 0 else self._after)
        start_s = 0.0 if made.grid.engine[row] == self._engine else made.start_s
        run_s = float(made.seconds[row]) * factor
        self._engine, self._left_s = int(made.grid.engine[row]), self._left_s - run_s
        values = {}
        for metric in made.metrics:
            times = factor**-1 if metric.kind is Kind.THROUGHPUT else factor
            log = made.logs[metric.name][row] + self._noise * self._rng.standard_normal()
            values[metric.name] = (float(np.exp(log)) * times,)
        return Measurement(Status.OK, Cost(start_s, 0.0, run_s, float(made.devices[row])),
                           (Reading(point, values, run_s),))


class Watch(Observer):
    """Notes at each checkpoint what was spent and the points that were said to be worse."""

    def __init__(self, strategy: DifferenceStrategy) -> None:
        self._strategy = strategy
        self.seen: list[tuple[float, BoolArray]] = []

    def finished(self, run: Run, observations: Observations) -> None:
        """A run has ended."""
        if self._strategy.is_due(observations) and (change := self._strategy.change(observations)) is not None:
            self.seen.append((observations.spent, change.any_worse))

    def named(self, points: BoolArray) -> float:
        """What was spent when one of the points was first said to be worse, and then until the end; NaN if never."""
        found = math.nan
        for spent, worse in self.seen:
            found = math.nan if not worse[points].any() else spent if math.isnan(found) else found
        return found


def measured(recording: Recording, runner: NewVersion, setting: Setting, seed: int
             ) -> tuple[Observations, Change, Watch]:
    """The runs of a study that asks for a difference, what they say at its end, and what they said before."""
    observations = Observations(recording.grid, recording.metrics)
    known = cast("Regressor", KnownSeconds(recording.seconds))
    costs = CostModel(recording.grid, recording.devices, lambda _: known)
    strategy = DifferenceStrategy(StrategyContext(
        recording.grid, tuple(recording.logs), None, recording.devices, seed, priors=(recording.prior,),
        difference=ChangeQuestion(setting.more_than)), costs)
    watch = Watch(strategy)
    Loop(runner, strategy, Memory(), observations, Limits(), seed, watch, clock=None).run()
    change = strategy.change(observations)
    assert change is not None, "no run succeeded"
    return observations, change, watch


def play(path: Path, case: str, seed: int, setting: Setting) -> Played:
    """One case with one seed."""
    recording = Recording(path, setting, seed)
    factor, ones = 1 + setting.change, np.ones(len(recording.grid))
    slower = {"planted": np.where(recording.corner, factor, 1.0), "slower": ones * factor}.get(case, ones)
    runner = NewVersion(recording, setting, slower, seed)
    if case == "step":
        took = seconds_of(measured(recording, runner, setting, seed)[0])
        runner = NewVersion(recording, setting, slower, seed, factor, setting.step_at * took)
    return scored(case, seed, recording, *measured(recording, runner, setting, seed))


def seconds_of(observations: Observations) -> float:
    """What all runs took."""
    return sum(run.measurement.cost.run_s for run in observations.runs)


def scored(case: str, seed: int, recording: Recording, observations: Observations, change: Change, watch: Watch
           ) -> Played:
    """What was said at the end against what was planted."""
    full, grid = recording.full, recording.grid
    corner = recording.corner & (case == "planted")
    worse, better = change.any_worse, change.changed & ~change.any_worse
    rows = [grid.find(run.point) for run in observations.runs]
    costs = [run.measurement.cost for run in observations.runs]
    level, drift = next(iter(change.targets.values())).level, change.drift
    ends = (level.log + end * 1.645 * level.std for end in (0, -1, 1))
    return Played(
        case, seed, int(corner.sum()), int(worse.sum()), int(better.sum()), int((worse & ~corner).sum() + better.sum()),
        float(worse[corner].mean()) if corner.any() else math.nan, observations.spent / full,
        sum(cost.start_s * cost.accelerators for cost in costs) / full,
        sum(costs[i].run_s * costs[i].accelerators for i, row in enumerate(rows) if row in rows[:i]) / full,
        len(rows), len(np.unique(grid.engine[[row for row in rows if row is not None]])), seconds_of(observations),
        (math.exp(next(ends)), math.exp(next(ends)), math.exp(next(ends))),
        (math.nan, math.nan, math.nan) if drift is None else (drift.ratio, drift.low, drift.high),
        watch.named(corner) / full)


def table_of(played: Sequence[Played]) -> Table:
    """A row for each case."""
    table = Table(box=None, title="What was said of a new version", title_justify="left")
    columns = ("case", "seeds", "alarms", "better", "wrong points", "corner found", "points found", "named at", "cost",
               "at most", "starts", "again", "runs", "engines", "common", "machine")
    for column in columns:
        table.add_column(column, justify="left" if column == "case" else "right")
    for case, group in itertools.groupby(sorted(played, key=lambda one: CASES.index(one.case)), lambda one: one.case):
        every = list(group)
        median = {name: float(np.median([getattr(one, name) for one in every]))
                  for name in ("cost", "starts", "again", "runs", "engines")}
        table.add_row(
            case, str(len(every)), str(sum(one.worse > 0 for one in every)), str(sum(one.better > 0 for one in every)),
            " ".join(str(one.wrong) for one in every), str(sum(one.found > 0 for one in every)),
            f"{np.mean([one.found for one in every]):.0%}" if case == "planted" else "",
            f"{np.nanmedian([one.named for one in every]):.1%}" if case == "planted" else "", f"{median['cost']:.1%}",
            f"{max(one.cost for one in every):.1%}", f"{median['starts']:.1%}", f"{median['again']:.1%}",
            f"{median['runs']:.0f}", f"{median['engines']:.0f}",
            f"{np.median([one.common[0] for one in every]):.3f}", f"{np.median([one.machine[0] for one in every]):.3f}")
    return table


def main() -> None:
    """Read arguments, play, show."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, help="a study file that replays a recorded grid")
    parser.add_argument("--target", action="append", default=[])
    parser.add_argument("--cases", default="same,planted")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=0)
    for name, value in asdict(Setting()).items():
        if name != "targets":
            parser.add_argument(f"--{name.replace('_', '-')}", type=float, default=value)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    setting = Setting(given.change, given.noise, given.part, given.step_at, given.more_than, tuple(given.target))
    seeds = range(given.first_seed, given.first_seed + given.seeds)
    tasks = (delayed(play)(given.study, case, seed, setting) for case in given.cases.split(",") for seed in seeds)
    played = list(Parallel(n_jobs=given.jobs)(tasks))
    if given.json:
        given.json.write_text(json.dumps([asdict(one) for one in played], indent=1) + "\n", encoding="utf-8")
    Console(highlight=False, width=160).print(table_of(played))


if __name__ == "__main__":
    main()
