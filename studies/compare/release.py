"""A new version against an old one, on a recorded grid with a planted change: what is said, and what it costs.

    python studies/compare/release.py replay.yaml --target latency_s --cases same,planted --seeds 10 --jobs 2

Both sides are made from the recording: the recorded value of a point times normal noise of its own (--noise, of one
reading; its logarithm's standard deviation), drawn by the seed. The old study has one reading of every point. The new
version is measured as `sweepwise compare --prior` does, one reading a run, until that ends; a run costs what the
recording says. The cases:

*same*: nothing changed. *planted*: --change in a corner of one engine configuration, drawn by the seed: the values in the
upper part (--part) of each size. *slower*: every run takes --change longer from the first on, another machine. *step*:
from a moment on every run takes --change longer; with --step-at 0.5 that is half way through what the study of the same
seed takes where nothing changed.

*worse*, *better*: points that are said to be so when it ends, and of those the *wrong* ones. *found*: share of the
planted points that are said to be worse. *cost*: at the end, as a share of the plain sweep's; and the parts of it that
engine starts took, and runs at points that had been run before. *common*: what all points are said to share. *machine*:
how much longer a run takes at the end than at first.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from joblib import Parallel, delayed
from rich.console import Console
from rich.table import Table

from planner.campaign.difference import asked
from planner.campaign.loop import Loop, Measurer
from planner.campaign.setup import StudySetup, open_setup
from planner.evaluation.change import Change
from planner.ledger.observations import Observations
from planner.simulation.simulate import Memory
from planner.space.types import BoolArray, FloatArray, Kind, Measurement, Proposal, Scale, Scope
from planner.strategies.difference import DifferenceStrategy

CASES = ("same", "planted", "slower", "step")


@dataclass(frozen=True)
class Question:
    """What is played, beside the case and the seed. change, noise: shares. part: of each size's values, from above.
    step_at: share of the runs' seconds. targets: those of the study file where empty."""

    change: float = 0.1
    noise: float = 0.02
    part: float = 0.5
    step_at: float = 0.5
    more_than: float = 0.05
    targets: tuple[str, ...] = ()


@dataclass(frozen=True)
class Played:
    """One study at its end. worse, better, wrong: points. found: share of the planted ones, NaN where none are. cost,
    starts, again: shares of the plain sweep's cost; again: of runs at points that had been run. common, machine: ratios
    with their 90 % intervals. seconds: of all runs."""

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
    reason: str


class Stepping:
    """A runner that is another one from so many seconds on."""

    def __init__(self, before: Measurer, after: Measurer, moment_s: float) -> None:
        self._before, self._after, self._left_s = before, after, moment_s
        self.trajectory_axis = before.trajectory_axis

    def measure(self, proposal: Proposal) -> Measurement:
        """A run of whichever it is now."""
        found = (self._before if self._left_s > 0 else self._after).measure(proposal)
        self._left_s -= found.cost.run_s
        return found


class Pair:
    """An old and a new version of a recorded grid, as tables in a folder."""

    def __init__(self, path: Path, question: Question, seed: int, folder: Path) -> None:
        self.question, self.folder, self._seed = question, folder, seed
        self._text = yaml.safe_load(path.read_text(encoding="utf-8"))
        study = open_setup(path)
        recorded, self.grid = study.recorded(), study.grid
        self._metrics = [metric for metric in study.metrics
                         if not question.targets or metric.name in question.targets]
        self._starts_s = recorded.runner.settings.engine_start_s
        points = [self.grid.point(row) for row in range(len(self.grid))]
        self._frame = pd.DataFrame(points)
        self._frame["run_seconds"], self._frame["devices"] = recorded.plain_seconds, recorded.accelerators
        for metric in self._metrics:
            self._frame[metric.name] = recorded.truth(metric.name)
        self.works: BoolArray = np.isfinite(self._frame[[metric.name for metric in self._metrics]]).to_numpy().all(1)
        rng = np.random.default_rng([seed, 0])
        self._noises = [{metric.name: np.exp(question.noise * rng.standard_normal(len(self.grid)))
                         for metric in self._metrics} for _ in range(2)]
        self.corner = self._corner(int(rng.choice(self.grid.engine[self.works])))
        self._write("old.csv", self._noises[0], np.ones(len(self.grid)))

    def _corner(self, engine: int) -> BoolArray:
        inside: BoolArray = (self.grid.engine == engine) & self.works
        for i, axis in enumerate(self.grid.axes):
            if axis.scope is not Scope.ENGINE and axis.scale is not Scale.CATEGORY and len(axis.values) > 1:
                inside &= self.grid.codes[:, i] >= math.ceil((1 - self.question.part) * len(axis.values))
        return inside

    def _write(self, name: str, noise: dict[str, FloatArray], slower: FloatArray) -> None:
        frame = self._frame.copy()
        frame["run_seconds"] *= slower
        for metric in self._metrics:
            sign = -1 if metric.kind is Kind.THROUGHPUT else 1
            frame[metric.name] *= noise[metric.name] * slower**sign
        frame[self.works].to_csv(self.folder / name, index=False)

    def study(self, name: str, slower: FloatArray) -> StudySetup:
        """The study of the new version, slower by a factor at each point."""
        self._write(f"{name}.csv", self._noises[1], slower)
        axes = {axis: {key: value for key, value in (given or {}).items() if key not in {"values", "range"}}
                for axis, given in self._text["space"]["axes"].items()}
        named = {metric.name for metric in self._metrics}
        text = {
            "study": {"name": name, "storage": f"sqlite:///{name}.db"}, "space": {"axes": axes},
            "runner": {"kind": "replay", "table": f"{name}.csv", "cost_s": "run_seconds", "accelerators": "devices",
                       "engine_start_s": self._starts_s},
            "targets": [target for target in self._text["targets"]
                        if (target if isinstance(target, str) else target["metric"]) in named],
            "prior": [{"table": "old.csv"}],
        }
        file = self.folder / f"{name}.yaml"
        file.write_text(yaml.safe_dump(text, sort_keys=False), encoding="utf-8")
        return asked(open_setup(file, seed=self._seed), None, self.question.more_than, None)


def measured(study: StudySetup, runner: Measurer, seed: int) -> tuple[Observations, Change, str]:
    """The runs of a study that asks for a difference, what they say at its end, and why it ended."""
    observations = Observations(study.grid, study.metrics)
    strategy = study.strategy("sweepwise")
    assert isinstance(strategy, DifferenceStrategy)
    reason = Loop(runner, strategy, Memory(), observations, study.limits(), seed, clock=None).run()
    change = strategy.change(observations)
    assert change is not None, "no run succeeded"
    return observations, change, reason


def play(path: Path, case: str, seed: int, question: Question) -> Played:
    """One case with one seed."""
    with tempfile.TemporaryDirectory() as folder:
        pair = Pair(path, question, seed, Path(folder))
        factor, ones = 1 + question.change, np.ones(len(pair.grid))
        slower = {"planted": np.where(pair.corner, factor, 1.0), "slower": ones * factor}.get(case, ones)
        study = pair.study("new", slower)
        runner: Measurer = study.runner
        if case == "step":
            took = seconds_of(measured(study, runner, seed)[0])
            runner = Stepping(study.recorded().runner.reseeded(seed), pair.study("after", ones * factor).runner,
                              question.step_at * took)
        planted = np.zeros(len(study.grid), dtype=bool)
        if case == "planted":  # the new grid has only the points that work
            planted[[study.grid.find(pair.grid.point(int(row))) for row in np.flatnonzero(pair.corner)]] = True
        return scored(case, seed, planted, study, *measured(study, runner, seed))


def seconds_of(observations: Observations) -> float:
    """What all runs took."""
    return sum(run.measurement.cost.run_s for run in observations.runs)


def scored(case: str, seed: int, corner: BoolArray, study: StudySetup, observations: Observations, change: Change,
           reason: str) -> Played:
    """What was said at the end against what was planted, (N,) of the new study's grid."""
    full = study.recorded().plain_sweep.cost[0]
    worse = change.any_worse
    better = change.changed & ~worse
    rows = [observations.grid.find(run.point) for run in observations.runs]
    again = [i for i, row in enumerate(rows) if row in rows[:i]]
    costs = [run.measurement.cost for run in observations.runs]
    level = next(iter(change.targets.values())).level
    drift = change.drift
    return Played(
        case, seed, int(corner.sum()), int(worse.sum()), int(better.sum()), int((worse & ~corner).sum() + better.sum()),
        float(worse[corner].mean()) if corner.any() else math.nan, observations.spent / full,
        sum(cost.start_s * cost.accelerators for cost in costs) / full,
        sum(costs[i].run_s * costs[i].accelerators for i in again) / full, len(rows),
        len(np.unique(study.grid.engine[[row for row in rows if row is not None]])), seconds_of(observations),
        (math.exp(level.log), *(math.exp(level.log + end * 1.645 * level.std) for end in (-1, 1))),
        (math.nan,) * 3 if drift is None else (drift.ratio, drift.low, drift.high), reason)


def table_of(played: Sequence[Played]) -> Table:
    """A row for each case."""
    table = Table(box=None, title="What was said of a new version", title_justify="left")
    columns = ("case", "seeds", "alarms", "better", "wrong points", "corner found", "points found", "cost", "at most",
               "starts", "again", "runs", "engines", "common", "machine")
    for column in columns:
        table.add_column(column, justify="left" if column == "case" else "right")
    for case, group in itertools.groupby(sorted(played, key=lambda one: CASES.index(one.case)), lambda one: one.case):
        every = list(group)
        median = lambda name, every=every: float(np.median([getattr(one, name) for one in every]))  # noqa: E731
        table.add_row(
            case, str(len(every)), str(sum(one.worse > 0 for one in every)), str(sum(one.better > 0 for one in every)),
            " ".join(str(one.wrong) for one in every), str(sum(one.found > 0 for one in every)),
            f"{np.mean([one.found for one in every]):.0%}" if case == "planted" else "", f"{median('cost'):.1%}",
            f"{max(one.cost for one in every):.1%}", f"{median('starts'):.1%}", f"{median('again'):.1%}",
            f"{median('runs'):.0f}", f"{median('engines'):.0f}",
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
    for name, value in asdict(Question()).items():
        if name != "targets":
            parser.add_argument(f"--{name.replace('_', '-')}", type=float, default=value)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    question = Question(given.change, given.noise, given.part, given.step_at, given.more_than, tuple(given.target))
    seeds = range(given.first_seed, given.first_seed + given.seeds)
    tasks = (delayed(play)(given.study, case, seed, question) for case in given.cases.split(",") for seed in seeds)
    played = list(Parallel(n_jobs=given.jobs)(tasks))
    if given.json:
        given.json.write_text(json.dumps([asdict(one) for one in played], indent=1) + "\n", encoding="utf-8")
    Console(highlight=False, width=160).print(table_of(played))


if __name__ == "__main__":
    main()
